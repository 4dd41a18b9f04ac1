"""Agents as pods, by the schema of JobSet and Kubernetes that Kubeflow publishes."""

from __future__ import annotations

import json
from typing import Any

from kubeflow_trainer_api import models
from typer.testing import CliRunner

from hub.cli import app
from hub.training.kubernetes import Pods, job_set, train_job

PODS = Pods("gpu", "registry/coalition:1", "hub:9090", 4, "shared", "tokens", 8, labels={"rack": "r1", "a": "b"})


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    (job,) = manifest["spec"]["replicatedJobs"]
    return dict(job["template"]["spec"]["template"]["spec"])


def test_the_manifest_is_what_the_schema_knows_and_nothing_is_lost() -> None:
    """Fields that the models do not know, they drop: what comes out must be what went in."""
    for pods in (PODS, Pods("cpu", "image", "hub:1", 1, "c", "t")):
        for schema, manifest in (
            (models.JobsetV1alpha2JobSet, job_set(pods)),
            (models.TrainerV1alpha1TrainJob, train_job(pods, "torch-distributed")),
        ):
            read = schema.from_dict(manifest)
            assert read is not None
            assert read.to_dict() == manifest


def test_each_pod_has_its_own_directory_and_invitation_and_no_key_of_the_cluster() -> None:
    spec = pod(job_set(PODS))
    (agent,) = spec["containers"]
    mounts = {mount["mountPath"]: mount.get("subPathExpr") for mount in agent["volumeMounts"]}
    assert mounts["/node"] == mounts["/token"] == "$(JOB_COMPLETION_INDEX)"
    assert spec["automountServiceAccountToken"] is False
    assert agent["command"][-4:] == ["--label", "a=b", "--label", "rack=r1"]
    assert agent["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert "resources" not in pod(job_set(Pods("cpu", "image", "hub:1", 1, "c", "t")))["containers"][0]


def test_a_train_job_s_pods_are_those_of_the_job_set() -> None:
    """Only what Kubeflow's runtime says itself is left to it; the environment of the container `node` may not be patched."""
    spec = train_job(PODS, "torch-distributed")["spec"]
    assert spec["runtimeRef"] == {"name": "torch-distributed"}
    assert spec["trainer"]["numNodes"] == PODS.count
    (job,) = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    patched, whole = job["template"]["spec"]["template"]["spec"], pod(job_set(PODS))
    (agent,), (container,) = whole["containers"], patched["containers"]
    assert (job["name"], container["name"]) == ("node", "node")
    assert patched["volumes"] == whole["volumes"]
    assert container["volumeMounts"] == agent["volumeMounts"]
    assert "env" not in container
    same = {"image", "command", "env"}
    assert {key: spec["trainer"][key] for key in same} == {key: agent[key] for key in same}
    assert spec["trainer"]["resourcesPerNode"] == agent["resources"]


def test_the_command_prints_it() -> None:
    options = ["--hub", "hub:9090", "--image", "i", "--claim", "shared", "--tokens", "t", "--nodes", "2"]
    pods = Pods("gpu", "i", "hub:9090", 2, "shared", "t", 8, labels={"rack": "r1"})
    for more, manifest in (((), job_set(pods)), (("--train-job", "torch"), train_job(pods, "torch"))):
        answer = CliRunner().invoke(app, ["manifest", "gpu", *options, "--gpus", "8", "--label", "rack=r1", *more])
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.output) == manifest
