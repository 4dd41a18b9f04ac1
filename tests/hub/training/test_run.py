"""Base runs through a real hub and two node agents, with every part of it killed once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.training.conftest import pids

if TYPE_CHECKING:
    from tests.hub.training.conftest import Cluster

pytestmark = pytest.mark.system


def steps(cluster: Cluster, run: str) -> list[int]:
    return [int(checkpoint["step"]) for checkpoint in cluster.show(run)["checkpoints"]]


def damage(shard: Path) -> None:
    """One bit of its largest file."""
    path = max((path for path in shard.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def recovery(events: list[dict[str, Any]], since: dt.datetime) -> str:
    """The time from a failure to the first step after it, split."""

    def at(begins: str) -> tuple[dt.datetime, str]:
        found = next(event for event in events if event["message"].startswith(begins))
        return dt.datetime.fromisoformat(found["time"]), found["message"]

    detected, _ = at("attempt 1 was interrupted")
    placed, _ = at("attempt 2 on")
    _, rest = at("goes on from step ")
    assert since < detected < placed
    detect, reschedule = (detected - since).total_seconds(), (placed - detected).total_seconds()
    return f"{detect:.1f} s to detect, {reschedule:.1f} s to reschedule; it {rest}"


def test_a_run_survives_a_killed_worker_a_killed_node_a_damaged_shard_and_a_killed_hub(cluster: Cluster) -> None:
    run = cluster.launch(steps=200, every=10)
    cluster.wait("the second checkpoint", lambda: len(steps(cluster, run)) > 1)
    killed = dt.datetime.now(dt.UTC)
    cluster.kill_rank("node-2")
    cluster.wait("the second attempt", lambda: cluster.show(run)["attempt"] == 2)
    cluster.wait("its workers", lambda: cluster.workers("node-1") and cluster.workers("node-2"))
    serving = pids("hub.training.warm", f"{cluster.directory}/node-1/")
    assert serving
    cluster.kill("node-1")
    cluster.wait("the end of what it started", lambda: not cluster.workers("node-1"), 5)
    cluster.wait("the end of what was warm", lambda: not set(serving) & set(pids("hub.training.warm")), 5)
    before, newest = steps(cluster, run)[-2:]
    damage(cluster.directory / "node-1" / "runs" / run / "checkpoints" / f"step-{newest}")
    cluster.attach("node-1")
    cluster.wait("the attempt from before", lambda: cluster.show(run)["attempt"] == 4 and cluster.workers("node-2"))
    cluster.kill("hub")
    cluster.serve()
    cluster.wait("the end", lambda: cluster.show(run)["state"] in ("finished", "failed"))
    ended, said = cluster.show(run), cluster.said(run)
    assert ended["state"] == "finished", said
    assert ended["attempt"] == 4, said
    assert any("SIGKILL" in message or "closed" in message.lower() for message in said), said
    assert f"node-1 has lost its shard of step {newest}: training goes back to step {before}" in said, said
    assert f"attempt 4 on node-1, node-2 from step {before}" in said, said
    assert said[-1] == f"model {ended['model']} is registered"
    print(f"\nrecovered from a killed rank: {recovery(cluster.told(run), killed)}")
    losses = {int(point["step"]): point["value"] for point in ended["metrics"] if point["name"] == "loss"}
    assert max(losses) == 200
    assert losses[200] < losses[5]
    models = cluster.core.coalition("model", "list")
    assert [model["id"] for model in models] == [ended["model"]]
    assert cluster.core.coalition("ledger", "verify")["problems"] == []


def test_a_cancelled_run_stops_its_workers_leaves_nothing_on_the_nodes_and_makes_room(cluster: Cluster) -> None:
    run = cluster.launch(steps=100_000, every=50_000)
    cluster.wait("the workers", lambda: cluster.workers("node-1") and cluster.workers("node-2"))
    contender = cluster.launch(steps=100_001, every=50_000)
    shown = cluster.core.coalition("run", "show", contender)
    assert (shown["state"], shown["nodes"]) == ("queued", [])
    assert shown == cluster.show(contender)
    cluster.core.coalition("run", "cancel", run)
    cluster.wait("the contender's turn", lambda: cluster.show(contender)["state"] == "preparing", 30)
    cluster.core.coalition("run", "cancel", contender)
    cluster.wait("the end", lambda: cluster.show(run)["state"] == "cancelled", 30)
    cluster.wait("the workers' end", lambda: not (cluster.workers("node-1") or cluster.workers("node-2")), 15)
    folders = [cluster.directory / node / "runs" / each for node in ("node-1", "node-2") for each in (run, contender)]
    cluster.wait("empty nodes", lambda: not any(folder.exists() for folder in folders), 15)


def test_a_node_is_gone_for_good_and_the_run_goes_on_with_the_rest_which_another_has_meanwhile(
    cluster: Cluster,
) -> None:
    """The other has several ranks on one node, which see no key of it."""
    left = cluster.launch(steps=100, every=10, training="copy_every = 10")
    cluster.wait("a copy", lambda: sum(each["places"] for each in cluster.show(left)["checkpoints"]) > 1)
    cluster.kill("node-2")
    cluster.wait("the loss of the node", lambda: cluster.show(left)["state"] == "queued", 60)
    run = cluster.launch(steps=20, every=10, placement="nodes = 1\nranks_per_node = 2")
    cluster.wait("both ranks", lambda: len(cluster.workers("node-1")) == 2)
    for rank in cluster.workers("node-1"):
        environment = Path(f"/proc/{rank}/environ").read_bytes()
        assert b"COALITION" not in environment
        assert "NoNewPrivs:\t1" in Path(f"/proc/{rank}/status").read_text(), "behind Landlock"
    cluster.wait("the end", lambda: cluster.show(run)["state"] in ("finished", "failed"))
    ended = cluster.show(run)
    assert ended["state"] == "finished", cluster.said(run)
    assert steps(cluster, run) == [10]
    (model,) = [each for each in cluster.core.coalition("model", "list") if each["id"] == ended["model"]]
    assert model["tokens"] == 20 * 4 * 2 * 64
    cluster.wait("the end of the first", lambda: cluster.show(left)["state"] in ("finished", "failed"))
    ended, said = cluster.show(left), cluster.said(left)
    assert ended["state"] == "finished", said
    (again,) = [message for message in said if message.startswith("attempt 2 on node-1 from step ")]
    assert again.endswith(" as it was copied; ranks: 1 instead of 2, each with more of a batch")
    assert max(int(point["step"]) for point in ended["metrics"]) == 100
    (model,) = [each for each in cluster.core.coalition("model", "list") if each["id"] == ended["model"]]
    assert model["tokens"] == 100 * 4 * 2 * 64, "one rank has seen what two would have"
    cluster.attach("node-2")


def test_a_mixture_of_experts_trains_in_smaller_passes_and_loads_with_public_tools(cluster: Cluster) -> None:
    from transformers import AutoModelForCausalLM

    run = cluster.launch(
        steps=20,
        every=10,
        architecture='family = "olmoe"\nexperts = 4\nexperts_per_token = 2',
        training="micro_batch = 2\nrecompute = true\nzero_stage = 2\nevaluate_every = 10\nseparate_documents = true",
        more='[data]\nheld_out = 0.1\nweights = { code = 1.0 }\n[samples]\nevery = 20\nprompts = ["def "]\ntokens = 3\n',
    )
    cluster.wait("the end", lambda: cluster.show(run)["state"] in ("finished", "failed"))
    ended = cluster.show(run)
    assert ended["state"] == "finished", cluster.said(run)
    losses = {int(point["step"]): point["value"] for point in ended["metrics"] if point["name"] == "loss"}
    assert losses[20] < losses[5]
    held_out = [int(point["step"]) for point in ended["metrics"] if point["name"] == "held_out_loss"]
    assert held_out == [10, 20]
    assert any(message.startswith("sample at step 20: def  | ") for message in cluster.said(run))
    cluster.core.coalition("release", "cut", ended["model"], "--version", "0.1")
    cluster.core.coalition("release", "download", "0.1", cluster.directory / "out")
    model = AutoModelForCausalLM.from_pretrained(cluster.directory / "out")
    assert model.config.model_type == "olmoe"
    assert model.num_parameters() == next(
        m["parameters"] for m in cluster.core.coalition("model", "list") if m["id"] == ended["model"]
    )


def test_what_is_withdrawn_is_forgotten_by_the_nodes(cluster: Cluster) -> None:
    """Their copies of its files, and before that the packed tokens of runs that have ended, which are the data once more."""
    (dataset,) = cluster.core.coalition("data", "list")
    files = {file["digest"] for file in cluster.core.coalition("data", "show", dataset["id"])["files"]}

    def cached() -> set[str]:
        paths = (path for node in ("node-1", "node-2") for path in (cluster.directory / node / "blobs").iterdir())
        return {f"sha256:{path.name}" for path in paths}

    models = cluster.core.coalition("model", "list")
    kept = {file["digest"] for model in models for file in model["files"]} | files
    cluster.wait("nothing but data and tokenizers", lambda: cached() <= kept, 15)
    assert files <= cached()
    cluster.core.coalition("data", "withdraw", dataset["id"])
    cluster.wait("the nodes' forgetting", lambda: not files & cached(), 15)
