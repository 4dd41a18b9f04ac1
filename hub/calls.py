"""Every call of the hub and who may make it: one table, deny by default."""

from __future__ import annotations

from hub.callers import Caller, Role

ALL: frozenset[Role] = frozenset({"core", "contributor", "viewer", "node"})
PEOPLE: frozenset[Role] = frozenset({"core", "contributor", "viewer"})
BUILDERS: frozenset[Role] = frozenset({"core", "contributor"})
CORE: frozenset[Role] = frozenset({"core"})
NODE: frozenset[Role] = frozenset({"node"})

ALLOWED: dict[str, dict[str, frozenset[Role]]] = {
    "Members": {
        "WhoAmI": ALL,
        "ListMembers": PEOPLE,
        "GetKeys": PEOPLE,
        "ChangeKeys": PEOPLE,
        "Delegate": BUILDERS,
        "RevokeNode": CORE,
        "Renew": ALL,
    },
    "Ledger": {"GetHead": ALL, "ReadTile": ALL, "ListEntries": ALL, "GetReceipt": ALL},
    "Blobs": {"Read": ALL, "Check": PEOPLE, "Write": NODE},
    "Submissions": {
        "Open": BUILDERS,
        "Upload": BUILDERS,
        "Commit": BUILDERS,
        "ListSubmissions": PEOPLE,
        "GetSubmission": PEOPLE,
        "GetPolicy": PEOPLE,
        "Withdraw": BUILDERS,
    },
    "Training": {
        "LaunchRun": CORE,
        "ListRuns": PEOPLE,
        "GetRun": PEOPLE,
        "WatchRun": PEOPLE,
        "CancelRun": CORE,
        "ListNodes": PEOPLE,
    },
    "Nodes": {"Attach": NODE},
    "Campaigns": {
        "OpenCampaign": CORE,
        "ListCampaigns": PEOPLE,
        "GetCampaign": PEOPLE,
        "WatchCampaign": PEOPLE,
        "JoinCampaign": BUILDERS,
        "StopCampaign": CORE,
        "PauseCampaign": CORE,
        "ResumeCampaign": CORE,
        "BeginSite": BUILDERS,
        "RegisterSite": BUILDERS,
    },
    "Evaluations": {
        "ListEvaluations": PEOPLE,
        "GetEvaluation": PEOPLE,
        "GetLeaderboard": PEOPLE,
        "GetRanking": PEOPLE,
    },
    "Models": {"ListModels": PEOPLE, "GetModel": PEOPLE, "GetLineage": PEOPLE},
    "Witnesses": {"EnrolWitness": BUILDERS, "SetPolicy": CORE, "Attach": BUILDERS, "GetStanding": ALL},
    "Releases": {"PrepareRelease": CORE, "PublishRelease": CORE, "ListReleases": PEOPLE, "GetRelease": PEOPLE},
}
"""Every call of `coalition.v1` on the main listener and the roles that may make it."""

ANY: frozenset[str] = frozenset()
_SUBMITTING = frozenset({"dataset", "suite"})

DELEGATED: dict[str, dict[str, frozenset[str]]] = {
    "Members": {"WhoAmI": ANY, "ListMembers": ANY, "GetKeys": ANY, "Renew": ANY},
    "Ledger": {"GetHead": ANY, "ReadTile": ANY, "ListEntries": ANY, "GetReceipt": ANY},
    "Blobs": {"Read": ANY, "Check": ANY},
    "Submissions": {
        "Open": _SUBMITTING,
        "Upload": _SUBMITTING,
        "Commit": _SUBMITTING,
        "ListSubmissions": ANY,
        "GetSubmission": ANY,
        "GetPolicy": ANY,
    },
    "Training": {
        "LaunchRun": frozenset({"run"}),
        "ListRuns": ANY,
        "GetRun": ANY,
        "WatchRun": ANY,
        "CancelRun": frozenset({"stop"}),
        "ListNodes": ANY,
    },
    "Campaigns": {
        "OpenCampaign": frozenset({"campaign"}),
        "ListCampaigns": ANY,
        "GetCampaign": ANY,
        "WatchCampaign": ANY,
        "JoinCampaign": frozenset({"consent"}),
        "StopCampaign": frozenset({"stop"}),
        "PauseCampaign": frozenset({"hold"}),
        "ResumeCampaign": frozenset({"hold"}),
        "BeginSite": frozenset({"consent"}),
        "RegisterSite": frozenset({"consent"}),
    },
    "Evaluations": {"ListEvaluations": ANY, "GetEvaluation": ANY, "GetLeaderboard": ANY, "GetRanking": ANY},
    "Models": {"ListModels": ANY, "GetModel": ANY, "GetLineage": ANY},
    "Releases": {"ListReleases": ANY, "GetRelease": ANY},
    "Witnesses": {"GetStanding": ANY},
}
"""Of the calls that a member may make, those that its delegates may: with any of these kinds delegated, or with whichever."""

_OPEN_TO_ENROLLED = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.reflection.v1.ServerReflection/",
)
PREFIX = "/coalition.v1."


def roles_for(method: str) -> frozenset[Role]:
    """The roles that may call a full method name (`/coalition.v1.Ledger/GetHead`); none for what is not in the table."""
    if method.startswith(_OPEN_TO_ENROLLED):
        return ALL
    service, _, name = method.removeprefix(PREFIX).partition("/")
    return ALLOWED.get(service, {}).get(name, frozenset())


def may_call(who: Caller, method: str) -> bool:
    """Whether the table opens this full method name to the caller; to a delegate only what its kinds need."""
    if who.role not in roles_for(method):
        return False
    if who.kinds is None or method.startswith(_OPEN_TO_ENROLLED):
        return True
    service, _, name = method.removeprefix(PREFIX).partition("/")
    needed = DELEGATED.get(service, {}).get(name)
    return needed is not None and (not needed or bool(needed & who.kinds))
