"""Children of a node agent: what they may see, why they failed, when they die."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.training.launch import Child, facing, telling_line, torchrun, worker_environment

FRAME = """
[rank1]: Traceback (most recent call last):
[rank1]:   File "/srv/hub/training/worker.py", line 80, in _train
[rank1]: trust.errors.Invalid: The loss is no longer a finite number: training has diverged.
E1123 23:40:28.1 torch/distributed/elastic/multiprocessing/api.py:988] failed (exitcode: 1) local_rank: 0
Traceback (most recent call last):
  File "/usr/lib/python3.11/runpy.py", line 198, in _run_module_as_main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
hub.training.rank FAILED
------------------------------------------------------------
"""


def test_a_worker_s_own_exception_is_the_reason_and_not_torchrun_s_frame() -> None:
    assert telling_line(FRAME).endswith("Invalid: The loss is no longer a finite number: training has diverged.")


def test_a_killed_worker_s_signal_is_the_reason() -> None:
    log = "hub.training.rank FAILED\n  exitcode  : -9 (pid: 12)\n  traceback : Signal 9 (SIGKILL) received by PID 12\n====\n"
    assert "SIGKILL" in telling_line(log)


@pytest.mark.parametrize(
    ("log", "said"), [("", "it said nothing"), ("====\n----\n", "it said nothing"), ("hi all\n\n", "hi all")]
)
def test_something_is_always_said(log: str, said: str) -> None:
    assert telling_line(log) == said


def test_ranks_meet_on_the_interface_that_faces_the_first_of_them() -> None:
    assert facing("127.0.0.1") == "lo"
    assert facing("no such host") == ""


def test_a_worker_sees_no_token_and_no_home_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COALITION_TOKEN", "secret")
    monkeypatch.setenv("COALITION_HOME", "/srv/keys")
    environment = worker_environment(2, loopback=True)
    assert not [name for name in environment if name.startswith("COALITION")]
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["GLOO_SOCKET_IFNAME"] == "lo"
    assert "GLOO_SOCKET_IFNAME" not in worker_environment(2, loopback=False)


def test_torchrun_is_told_the_rank_and_where_the_others_are() -> None:
    command = torchrun(Path("job.json"), rank=1, world=2, host="10.0.0.1", port=29500)
    assert {"--nnodes=2", "--node_rank=1", "--nproc_per_node=1", "--master_addr=10.0.0.1"} <= set(command)


async def test_a_child_s_end_and_its_last_words(tmp_path: Path) -> None:
    program = "import sys; print('some output'); raise ValueError('too small')"
    child = await Child.start([sys.executable, "-c", program], worker_environment(1, False), tmp_path / "log")
    assert await child.wait() == 1
    assert child.last_words() == "ValueError: too small"
    news = child.news()
    assert (news[0], news[-1]) == ("log: some output", "log: ValueError: too small")
    assert child.news() == []


async def test_a_killed_child_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = await Child.start(command, worker_environment(1, False), tmp_path / "log")
    assert child.running
    await child.kill()
    assert not child.running


@pytest.mark.system
async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed and cannot do anything about it."""
    program = f"""
import asyncio, sys
from pathlib import Path
from hub.training.launch import Child, worker_environment
async def main():
    command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    await Child.start(command, worker_environment(1, False), Path({str(tmp_path / "log")!r}))
    await asyncio.sleep(600)
asyncio.run(main())
"""
    root = str(Path(__file__).parents[3])
    with subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root}) as parent:
        async with asyncio.timeout(30):
            while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text().strip():
                await asyncio.sleep(0.05)
        child = int((tmp_path / "log").read_text())
        parent.kill()
    async with asyncio.timeout(10):
        while _runs(child):
            await asyncio.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
