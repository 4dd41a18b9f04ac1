"""What a warm process does with a job it does in the place of whoever handed it over, and ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.training import warm

WARM = """
import os, sys, time
from pathlib import Path
from hub.training import warm

def main(job):
    print(job, os.environ["SAID"], os.getpid(), flush=True)
    if job == "bad": raise ValueError("no luck")
    if job == "long": time.sleep(600)

warm.serve(Path(sys.argv[1]), lambda: main)
"""
COLD = "import sys; from pathlib import Path; from hub.training.warm import hand_over; "
COLD += "sys.exit(hand_over(Path(sys.argv[1]), sys.argv[2]))"


def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def address(tmp_path: Path) -> Path:
    """In a folder with a long name."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    return folder / "0"


@pytest.fixture
def waiting(address: Path) -> Iterator[subprocess.Popen[str]]:
    """A warm process."""
    process = start(WARM, address, SAID="nothing")
    deadline = time.monotonic() + 60
    while not address.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def test_a_job_is_done_with_the_environment_and_the_output_of_whoever_hands_it_over(
    address: Path, waiting: subprocess.Popen[str]
) -> None:
    cold = start(COLD, address, "good", SAID="hello")
    assert cold.communicate(timeout=60) == (f"good hello {waiting.pid}\n", "")
    assert cold.returncode == 0
    waiting.wait(60)
    again = start(COLD, address, "again", SAID="hello")
    assert again.communicate(timeout=60) == ("", ""), "each does one job; nobody is here for a second"


def test_a_job_that_fails_says_why_where_the_other_would_have_said_it(
    address: Path, waiting: subprocess.Popen[str]
) -> None:
    cold = start(COLD, address, "bad", SAID="hello")
    assert cold.communicate(timeout=60)[1].splitlines()[-1] == "ValueError: no luck"
    assert cold.returncode == 1


def test_a_warm_process_ends_with_whoever_handed_it_a_job(address: Path, waiting: subprocess.Popen[str]) -> None:
    cold = start(COLD, address, "long", SAID="hello")
    assert cold.stdout is not None
    assert cold.stdout.readline().startswith("long")
    cold.kill()
    cold.communicate()
    assert waiting.wait(60) == -signal.SIGKILL


def test_a_rank_that_torchrun_starts_hands_its_job_over(
    tmp_path: Path, address: Path, waiting: subprocess.Popen[str]
) -> None:
    job = tmp_path / "job.json"
    job.write_text("{}")
    place = {warm.FOLDER: str(address.parent), "RANK": "0", "LOCAL_RANK": "0", "SAID": "by torchrun"}
    rank = start("import runpy; runpy.run_module('hub.training.rank', run_name='__main__')", job, **place)
    assert rank.communicate(timeout=60) == (f"{job} by torchrun {waiting.pid}\n", "")
    assert rank.returncode == 0


def test_where_nobody_waits_nothing_is_handed_over(address: Path) -> None:
    assert warm.hand_over(address, "job") is None
