"""Gangs by a real Slurm: submitted, asked after, cancelled, preempted and put back, and nothing of ours in their environment."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path

import grpc
import pytest

from hub.training import shards
from hub.training.launching import Part
from hub.training.slurm import commands, launcher
from hub.training.slurm.launcher import BySlurm, Cluster, SlurmJob, cluster_inventory
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from trust.errors import Unavailable

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("slurm")]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "POLL", 0.2)


def part(tmp_path: Path, machines: int = 2) -> Part:
    folder = tmp_path / "attempt-1"
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"checkpoints": str(tmp_path / "checkpoints"), "resume_step": 0}))
    return Part("run-1", folder / "job.json", 0, 1, "127.0.0.1", 29_500, machines, machines)


def python(program: str) -> str:
    return shlex.join([sys.executable, "-c", program])


async def submitted(
    tmp_path: Path, program: str, partition: str = "low", machines: int = 2, node: str = "agent-1"
) -> SlurmJob:
    job = await BySlurm(node, Cluster(partition)).submit(part(tmp_path, machines), python(program))
    assert isinstance(job, SlurmJob)
    return job


async def until(job: SlurmJob, state: str) -> None:
    async with asyncio.timeout(60):
        while job.status.state != state:
            assert job.running, job.status
            await asyncio.sleep(0.1)


async def test_a_gang_runs_on_all_machines_and_sees_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COALITION_TOKEN", "SECRET")
    program = "import os; print('machine', os.environ['SLURM_NODEID'], 'SECRET' in str(os.environ))"
    job = await submitted(tmp_path, program)
    assert await asyncio.wait_for(job.wait(), 120) == 0
    assert not job.running
    log = (tmp_path / "attempt-1" / "log").read_text()
    assert sorted(line for line in log.splitlines() if "machine" in line) == ["machine 0 False", "machine 1 False"]


async def test_a_failure_tells_why(tmp_path: Path) -> None:
    job = await submitted(tmp_path, "raise ValueError('too small')", machines=1)
    assert await asyncio.wait_for(job.wait(), 120) == 1
    assert job.last_words() == "ValueError: too small"


async def test_a_cancelled_gang_ends(tmp_path: Path) -> None:
    job = await submitted(tmp_path, "import time; time.sleep(600)")
    await until(job, "RUNNING")
    await asyncio.wait_for(job.kill(), 60)
    assert job.status.state == "CANCELLED"
    assert not job.running
    assert await job.wait() != 0


async def test_what_a_killed_agent_left_is_cancelled_and_another_agent_s_is_not(tmp_path: Path) -> None:
    program = "import time; time.sleep(600)"
    left, other = [await submitted(tmp_path, program, machines=1, node=node) for node in ("a-1", "a-2")]
    await until(left, "RUNNING")
    await until(other, "RUNNING")
    await BySlurm("a-1", Cluster()).clear()
    await asyncio.wait_for(left.wait(), 60)
    assert left.status.state == "CANCELLED"
    assert other.running
    await other.kill()


async def test_a_preempted_gang_is_put_back_and_goes_on_from_the_newest_checkpoint_of_all(tmp_path: Path) -> None:
    for machine, steps in ((0, (10, 20, 30)), (1, (10, 20))):
        checkpoints = tmp_path / "checkpoints" / f"node-{machine}"
        for step in steps:
            (checkpoints / shards.tag(step)).mkdir(parents=True)
            (checkpoints / shards.tag(step) / "state").write_text(f"{machine} {step}")
            shards.seal(checkpoints, step)
    program = "import os, time; time.sleep(600 * (os.environ.get('SLURM_RESTART_COUNT', '0') == '0'))"
    low = await submitted(tmp_path, program)
    await until(low, "RUNNING")
    (tmp_path / "high").mkdir()
    high = await submitted(tmp_path / "high", "print('urgent')", partition="high", node="agent-2")
    assert await asyncio.wait_for(high.wait(), 120) == 0
    assert low.running, low.status
    assert await asyncio.wait_for(low.wait(), 180) == 0
    assert low.status.restarts == 1
    assert json.loads((tmp_path / "attempt-1" / "job.json").read_text())["resume_step"] == 20
    assert shards.steps(tmp_path / "checkpoints" / "node-0") == {10, 20}


async def test_an_agent_offers_what_its_partition_has() -> None:
    offer = training_pb2.Inventory(labels={"rack": "r1"}, accelerators=[training_pb2.Accelerator(kind="mine")])
    await cluster_inventory(offer, Cluster("low"))
    assert (offer.machines, offer.memory, list(offer.accelerators)) == (2, 500 << 20, [])
    assert offer.labels == {"rack": "r1"}
    with pytest.raises(Unavailable, match="no-such"):
        await cluster_inventory(offer, Cluster("no-such"))


async def test_what_slurm_refuses_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nvalid partition"):
        await submitted(tmp_path, "pass", partition="no-such")
    with pytest.raises(Unavailable, match="Invalid job id"):
        await commands.status("999999")


async def test_a_run_s_processes_on_the_machines_do_not_see_the_agent_s_key(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "key.pem").write_text("SECRET")
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        program = f"print(open({str(tmp_path / 'tls' / 'key.pem')!r}).read())"
        command = Workplace(tmp_path, channel).concealed([sys.executable, "-c", program])
    job = await BySlurm("agent-1", Cluster()).submit(part(tmp_path, 1), shlex.join(command))
    assert await asyncio.wait_for(job.wait(), 120) == 1
    assert "PermissionError" in job.last_words()
