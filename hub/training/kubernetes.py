"""Agents as pods: a JobSet (jobset.x-k8s.io/v1alpha2) whose pods each are a node of the hub, which places gangs on them.

One pod for each index: it keeps its directory under its index on a volume, and reads the invitation under its index from a
secret. JSON, which kubectl takes as it takes YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_INDEX = "$(JOB_COMPLETION_INDEX)"  # that of an indexed job's pod; Kubernetes sets it
_START = 'COALITION_TOKEN="$(cat /token)" exec coalition-hub node /node --hub "$HUB" --name "$NAME-$JOB_COMPLETION_INDEX" "$@"'


@dataclass(frozen=True)
class Pods:
    """`claim` is a volume claim that all pods can write to; `tokens` a secret with an invitation for each index."""

    name: str
    image: str
    hub: str
    count: int
    claim: str
    tokens: str
    accelerators: int = 0
    resource: str = "nvidia.com/gpu"
    labels: Mapping[str, str] = field(default_factory=dict)


def job_set(pods: Pods) -> dict[str, Any]:
    """The manifest. A pod that ends is started again: the agent goes on with what it was at."""
    job = {
        "parallelism": pods.count,
        "completions": pods.count,
        "completionMode": "Indexed",
        "backoffLimit": 2**31 - 1,
        "template": {"spec": _pod(pods)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": pods.name},
        "spec": {"replicatedJobs": [{"name": "node", "replicas": 1, "template": {"spec": job}}]},
    }


def _pod(pods: Pods) -> dict[str, Any]:
    labels = [part for key, value in sorted(pods.labels.items()) for part in ("--label", f"{key}={value}")]
    agent: dict[str, Any] = {
        "name": "agent",
        "image": pods.image,
        "command": ["sh", "-c", _START, "node", *labels],
        "env": [{"name": "HUB", "value": pods.hub}, {"name": "NAME", "value": pods.name}],
        "volumeMounts": [
            {"name": "directories", "mountPath": "/node", "subPathExpr": _INDEX},
            {"name": "tokens", "mountPath": "/token", "subPathExpr": _INDEX, "readOnly": True},
            {"name": "memory", "mountPath": "/dev/shm"},  # noqa: S108  (what ranks of a machine share)
        ],
    }
    if pods.accelerators:
        agent["resources"] = {"limits": {pods.resource: str(pods.accelerators)}}
    return {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [agent],
        "volumes": [
            {"name": "directories", "persistentVolumeClaim": {"claimName": pods.claim}},
            {"name": "tokens", "secret": {"secretName": pods.tokens}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
        ],
    }
