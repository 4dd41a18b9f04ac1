"""What each call means to who makes it: words that complete "A viewer may not ..."."""

from __future__ import annotations

ACTS: dict[str, dict[str, str]] = {
    "Members": {
        "WhoAmI": "ask who it is",
        "ListMembers": "list the members",
        "GetKeys": "look at members' keys",
        "ChangeKeys": "rotate or revoke keys",
        "Delegate": "make delegates",
        "RevokeNode": "revoke nodes",
        "Renew": "renew its certificate",
    },
    "Ledger": {
        "GetHead": "read the ledger",
        "ReadTile": "read the ledger",
        "ListEntries": "read the ledger",
        "GetReceipt": "fetch receipts",
    },
    "Blobs": {"Read": "read files", "Check": "have files checked", "Write": "send files of a node"},
    "Submissions": {
        "Open": "submit datasets and suites",
        "Upload": "submit datasets and suites",
        "Commit": "submit datasets and suites",
        "ListSubmissions": "list datasets and suites",
        "GetSubmission": "look at datasets and suites",
        "GetPolicy": "ask what the hub takes",
        "Withdraw": "withdraw datasets and suites",
    },
    "Training": {
        "LaunchRun": "launch base runs",
        "ListRuns": "list base runs",
        "GetRun": "look at base runs",
        "WatchRun": "watch base runs",
        "CancelRun": "cancel base runs",
        "ListNodes": "list the nodes",
    },
    "Nodes": {"Attach": "attach a node"},
    "Campaigns": {
        "OpenCampaign": "open campaigns",
        "ListCampaigns": "list campaigns",
        "GetCampaign": "look at campaigns",
        "WatchCampaign": "watch campaigns",
        "JoinCampaign": "join campaigns",
        "StopCampaign": "stop campaigns",
        "PauseCampaign": "pause campaigns",
        "ResumeCampaign": "resume campaigns",
        "BeginSite": "run a site",
        "RegisterSite": "run a site",
    },
    "Evaluations": {
        "ListEvaluations": "list evaluations",
        "GetEvaluation": "look at evaluations",
        "GetLeaderboard": "look at the leaderboard",
        "GetRanking": "look at the leaderboard",
    },
    "Models": {"ListModels": "list models", "GetModel": "look at models", "GetLineage": "look at a model's lineage"},
    "Witnesses": {
        "EnrolWitness": "enrol a witness",
        "SetPolicy": "set the quorum of witnesses",
        "Attach": "witness the ledger",
        "GetStanding": "look at the witnesses",
    },
    "Releases": {
        "PrepareRelease": "cut releases",
        "PublishRelease": "cut releases",
        "ListReleases": "list releases",
        "GetRelease": "look at releases",
    },
}


def act(method: str) -> str:
    """Of a full method name (`/coalition.v1.Ledger/GetHead`)."""
    service, _, name = method.rpartition(".")[2].partition("/")
    return ACTS.get(service, {}).get(name, "do this")
