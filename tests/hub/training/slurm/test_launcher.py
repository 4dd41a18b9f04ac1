"""Gangs by a real Slurm: submitted, asked after, cancelled, preempted and put back, and nothing of ours in their environment."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import pytest

from hub.training import shards
from hub.training.launching import Part
from hub.training.slurm import commands, launcher
from hub.training.slurm.launcher import BySlurm, Cluster, SlurmJob
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from trust.errors import NotFound, Unavailable

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("slurm")]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, slurm: Path) -> Iterator[None]:
    """No test leaves a job to the next."""
    for name, value in (("POLL", 0.2), ("SILENT", 2), ("LOOK", 0.2), ("AGAIN", 1.0)):
        monkeypatch.setattr(launcher, name, value)
    yield
    environment = os.environ | {"SLURM_CONF": str(slurm / "slurm.conf")}
    subprocess.run(["scancel", "--user=root"], env=environment, check=False, timeout=60)


@pytest.fixture
def away(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """For a while the controller is where nobody answers; its jobs go on."""
    conf = tmp_path / "away.conf"
    text = (slurm / "slurm.conf").read_text()
    for key, value in (("SlurmctldPort", 9), ("MessageTimeout", 1)):
        text = re.sub(rf"{key}=\d+", f"{key}={value}", text)
    conf.write_text(text)

    @contextmanager
    def left() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setenv("SLURM_CONF", str(conf))
            yield

    return left


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


async def told(job: SlurmJob, *begins: str) -> None:
    """Until the job has told lines that begin so, in whatever order."""
    news = list[str]()
    async with asyncio.timeout(60):
        while not all(any(line.startswith(each) for line in news) for each in begins):
            assert job.running, (job.status, news)
            await asyncio.sleep(0.1)
            news += job.news()


async def until(job: SlurmJob, state: str) -> None:
    async with asyncio.timeout(60):
        while job.status.state != state:
            assert job.running, job.status
            await asyncio.sleep(0.1)


async def test_a_gang_runs_on_all_machines_and_sees_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COALITION_TOKEN", "SECRET")
    program = "import os; print(); print('is', os.environ['SLURM_NODEID'], 'SECRET' in str(os.environ))"
    job = await submitted(tmp_path, program)
    assert await asyncio.wait_for(job.wait(), 120) == 0
    assert not job.running
    said = [line for line in job.news() if line.startswith("log: ")]
    assert sorted(said) == ["log: machine 0: is 0 False", "log: machine 1: is 1 False"]


async def test_who_follows_a_run_hears_why_it_waits_where_it_runs_and_what_its_tasks_say_meanwhile(
    tmp_path: Path,
) -> None:
    saying = "import sys, time; print('on its way', file=sys.stderr, flush=True); time.sleep(600)"
    first = await submitted(tmp_path, saying)
    await told(first, "running in Slurm on machine-[1-2]", "log: machine 0: on its way", "log: machine 1: on its way")
    (tmp_path / "second").mkdir()
    second = await submitted(tmp_path / "second", "pass", node="agent-2")
    await told(second, "waiting in Slurm: Resources")
    await asyncio.wait_for(second.kill(), 60)
    assert second.status.state == "CANCELLED"
    assert not (tmp_path / "second" / "attempt-1" / "log").exists(), "it never began"
    await first.kill()


async def test_a_job_goes_on_while_slurm_is_away_and_its_end_is_heard_of_afterwards(
    tmp_path: Path, away: Callable[[], AbstractContextManager[None]]
) -> None:
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'end')!r}): time.sleep(0.05)"
    job = await submitted(tmp_path, wait, machines=1)
    await until(job, "RUNNING")
    with away():
        await told(job, "Slurm does not answer; its job is taken to go on meanwhile")
        with pytest.raises(Unavailable):
            await BySlurm("agent-1", Cluster()).clear()
        (tmp_path / "end").touch()
    assert job.running
    assert await asyncio.wait_for(job.wait(), 60) == 0
    assert "Slurm answers again" in job.news()


async def test_a_job_that_is_to_end_while_slurm_is_away_ends_when_it_is_back(
    tmp_path: Path, away: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submitted(tmp_path, "import time; time.sleep(600)", machines=1)
    await until(job, "RUNNING")
    with away():
        monkeypatch.setattr(launcher, "PATIENCE", 0.5)
        await asyncio.wait_for(job.kill(), 30)
        assert job.running
        await told(job, "Slurm does not answer")  # which takes several questions: the cancellation has failed by then
    assert await asyncio.wait_for(job.wait(), 60) != 0
    assert job.status.state == "CANCELLED"


async def test_while_slurm_is_away_its_agent_is_not_well_and_says_what_it_has(
    away: Callable[[], AbstractContextManager[None]],
) -> None:
    agent, offer = BySlurm("agent-1", Cluster()), training_pb2.Inventory()
    await agent.describe(offer)
    with away():
        attending = asyncio.create_task(agent.attend())
        async with asyncio.timeout(30):
            while not agent.trouble:
                await asyncio.sleep(0.1)
        await agent.describe(offer)
        assert (offer.machines, offer.health) == (2, agent.trouble), "a hub that asks anew hears what it has"
    async with asyncio.timeout(30):
        while agent.trouble:
            await asyncio.sleep(0.1)
    attending.cancel()


@pytest.mark.parametrize(("word", "code"), [("0", 0), ("3", 3), ("", 1)])
async def test_of_a_job_that_slurm_has_forgotten_counts_what_it_wrote_down(
    tmp_path: Path, word: str, code: int
) -> None:
    if word:
        (tmp_path / "code").write_text(word)
    job = SlurmJob("999999", tmp_path)
    assert await asyncio.wait_for(job.wait(), 60) == code
    assert word or "Slurm no longer knows its job 999999" in job.last_words()


async def test_what_is_stopped_while_it_is_being_submitted_leaves_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm has the job already, and the agent not yet its number."""
    slow = tmp_path / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\nset -e\nnumber=$({shutil.which("sbatch")} "$@")\ntouch {tmp_path}/had\nsleep 1\necho $number\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    starting = asyncio.create_task(submitted(tmp_path, "import time; time.sleep(600)", node="agent-3"))
    async with asyncio.timeout(60):
        while not (tmp_path / "had").exists():
            await asyncio.sleep(0.01)
    assert len(await commands.jobs("coalition-agent-3")) == 1
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await commands.jobs("coalition-agent-3") == []


async def test_a_failure_tells_why(tmp_path: Path) -> None:
    job = await submitted(tmp_path, "raise ValueError('too small')", machines=1)
    assert await asyncio.wait_for(job.wait(), 120) == 1
    assert job.last_words() == "machine 0: ValueError: too small"


async def test_a_cancelled_gang_ends(tmp_path: Path) -> None:
    job = await submitted(tmp_path, "import time; time.sleep(600)")
    await until(job, "RUNNING")
    await asyncio.wait_for(job.kill(), 60)
    assert job.status.state == "CANCELLED"
    assert not job.running
    assert await job.wait() != 0


async def test_what_a_killed_agent_left_is_cancelled_and_another_agent_s_is_not(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    program = f"{deaf}; time.sleep(600)"
    left, other = [await submitted(tmp_path, program, machines=1, node=node) for node in ("a-1", "a-2")]
    await told(left, "log: machine 0: deaf")
    await told(other, "log: machine 0: deaf")
    (tmp_path / "beside").mkdir()
    beside = await submitted(tmp_path / "beside", program, machines=1, node="a-1")
    await told(beside, "waiting in Slurm: Dependency")
    await BySlurm("a-1", Cluster()).clear()
    assert await commands.jobs("coalition-a-1") == [], "their end is waited for"
    assert [await asyncio.wait_for(job.wait(), 60) > 0 for job in (left, beside)] == [True, True]
    assert left.status.state == beside.status.state == "CANCELLED"
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
    await BySlurm("agent-1", Cluster("low")).describe(offer)
    assert (offer.machines, offer.memory, list(offer.accelerators)) == (2, 500 << 20, [])
    assert offer.labels == {"rack": "r1"}
    with pytest.raises(Unavailable, match="no-such"):
        await BySlurm("agent-1", Cluster("no-such")).describe(offer)


async def test_what_slurm_refuses_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nvalid partition"):
        await submitted(tmp_path, "pass", partition="no-such")
    with pytest.raises(NotFound, match="999999"):
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
