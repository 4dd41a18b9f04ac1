"""Agents as pods, each a node of the hub, which places gangs on them: a JobSet (jobset.x-k8s.io/v1alpha2), or a TrainJob of
Kubeflow Trainer (trainer.kubeflow.org/v1alpha1), which makes a JobSet from a runtime of the cluster's.

One pod for each index: it keeps its directory under its index on a volume, and reads the invitation under its index from a
secret. JSON, which kubectl takes as it takes YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_INDEX = "$(JOB_COMPLETION_INDEX)"  # that of an indexed job's pod; Kubernetes sets it
_NODE = "node"
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
        "spec": {"replicatedJobs": [{"name": _NODE, "replicas": 1, "template": {"spec": job}}]},
    }


def train_job(pods: Pods, runtime: str) -> dict[str, Any]:
    """The manifest, for a ClusterTrainingRuntime whose job and container are called `node`, as Kubeflow's own are.

    What becomes of a pod that ends, and which credentials of the cluster it has, is the runtime's to say.
    """
    trainer = {"image": pods.image, "numNodes": pods.count, **_command(pods)}
    if resources := _resources(pods):
        trainer["resourcesPerNode"] = resources
    container = {"name": _NODE, "volumeMounts": _mounts()}
    pod = {"spec": {"containers": [container], "volumes": _volumes(pods)}}
    jobs = [{"name": _NODE, "template": {"spec": {"template": pod}}}]
    patch = {"manager": "coalition", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": pods.name},
        "spec": {"runtimeRef": {"name": runtime}, "trainer": trainer, "runtimePatches": [patch]},
    }


def _pod(pods: Pods) -> dict[str, Any]:
    agent: dict[str, Any] = {"name": "agent", "image": pods.image, **_command(pods), "volumeMounts": _mounts()}
    if resources := _resources(pods):
        agent["resources"] = resources
    return {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [agent],
        "volumes": _volumes(pods),
    }


def _command(pods: Pods) -> dict[str, Any]:
    labels = [part for key, value in sorted(pods.labels.items()) for part in ("--label", f"{key}={value}")]
    return {
        "command": ["sh", "-c", _START, "node", *labels],
        "env": [{"name": "HUB", "value": pods.hub}, {"name": "NAME", "value": pods.name}],
    }


def _resources(pods: Pods) -> dict[str, Any]:
    return {"limits": {pods.resource: str(pods.accelerators)}} if pods.accelerators else {}


def _mounts() -> list[dict[str, Any]]:
    return [
        {"name": "directories", "mountPath": "/node", "subPathExpr": _INDEX},
        {"name": "tokens", "mountPath": "/token", "subPathExpr": _INDEX, "readOnly": True},
        {"name": "memory", "mountPath": "/dev/shm"},  # noqa: S108  (what ranks of a machine share)
    ]


def _volumes(pods: Pods) -> list[dict[str, Any]]:
    return [
        {"name": "directories", "persistentVolumeClaim": {"claimName": pods.claim}},
        {"name": "tokens", "secret": {"secretName": pods.tokens}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
