"""Who may make which call, written down a second time: a change of the hub's own table has to be made here as well.

A call, the roles that may make it (core, contributor, viewer, node), and the kinds of which a delegate needs one: `any`, or those
named.
"""

from __future__ import annotations

TABLE = """
Members/WhoAmI                core contributor viewer node    any
Members/ListMembers           core contributor viewer -       any
Members/GetKeys               core contributor viewer -       any
Members/ChangeKeys            core contributor viewer -       -
Members/Delegate              core contributor - -            -
Members/RevokeNode            core - - -                      -
Members/Renew                 core contributor viewer node    any
Ledger/GetHead                core contributor viewer node    any
Ledger/ReadTile               core contributor viewer node    any
Ledger/ListEntries            core contributor viewer node    any
Ledger/GetReceipt             core contributor viewer node    any
Blobs/Read                    core contributor viewer node    any
Blobs/Check                   core contributor viewer -       any
Blobs/Write                   - - - node                      -
Submissions/Open              core contributor - -            dataset suite
Submissions/Upload            core contributor - -            dataset suite
Submissions/Commit            core contributor - -            dataset suite
Submissions/ListSubmissions   core contributor viewer -       any
Submissions/GetSubmission     core contributor viewer -       any
Submissions/GetPolicy         core contributor viewer -       any
Submissions/Withdraw          core contributor - -            -
Training/LaunchRun            core - - -                      run
Training/ListRuns             core contributor viewer -       any
Training/GetRun               core contributor viewer -       any
Training/WatchRun             core contributor viewer -       any
Training/CancelRun            core - - -                      stop
Training/ListNodes            core contributor viewer -       any
Nodes/Attach                  - - - node                      -
Campaigns/OpenCampaign        core - - -                      campaign
Campaigns/ListCampaigns       core contributor viewer -       any
Campaigns/GetCampaign         core contributor viewer -       any
Campaigns/WatchCampaign       core contributor viewer -       any
Campaigns/JoinCampaign        core contributor - -            consent
Campaigns/StopCampaign        core - - -                      stop
Campaigns/PauseCampaign       core - - -                      hold
Campaigns/ResumeCampaign      core - - -                      hold
Campaigns/BeginSite           core contributor - -            consent
Campaigns/RegisterSite        core contributor - -            consent
Evaluations/ListEvaluations   core contributor viewer -       any
Evaluations/GetEvaluation     core contributor viewer -       any
Evaluations/GetLeaderboard    core contributor viewer -       any
Evaluations/GetRanking        core contributor viewer -       any
Models/ListModels             core contributor viewer -       any
Models/GetModel               core contributor viewer -       any
Models/GetLineage             core contributor viewer -       any
Witnesses/EnrolWitness        core contributor - -            -
Witnesses/SetPolicy           core - - -                      -
Witnesses/Attach              core contributor - -            -
Witnesses/GetStanding         core contributor viewer node    any
Releases/PrepareRelease       core - - -                      -
Releases/PublishRelease       core - - -                      -
Releases/ListReleases         core contributor viewer -       any
Releases/GetRelease           core contributor viewer -       any
"""


def expected() -> dict[str, tuple[frozenset[str], frozenset[str] | None]]:
    """Full method name -> roles, and the kinds of which a delegate needs one: empty for any, None where none may."""
    found: dict[str, tuple[frozenset[str], frozenset[str] | None]] = {}
    for line in TABLE.strip().splitlines():
        call, core, contributor, viewer, node, *kinds = line.split()
        roles = frozenset({core, contributor, viewer, node} - {"-"})
        needed = None if kinds == ["-"] else frozenset(kinds) - {"any"}
        found[f"/coalition.v1.{call}"] = roles, needed
    return found


def may(role: str, kinds: frozenset[str] | None, call: str) -> bool:
    """As the table says; `kinds` are a delegate's, None for the party itself."""
    roles, needed = expected()[call]
    return role in roles and (kinds is None or (needed is not None and (not needed or bool(needed & kinds))))
