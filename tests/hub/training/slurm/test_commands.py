"""What Slurm's commands answer, in the words of its manuals."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.training.launching import Part
from hub.training.slurm.commands import Machines, Status, parse_machines, parse_status
from hub.training.slurm.script import script


def test_a_job_s_state_is_read_from_what_the_controller_shows() -> None:
    line = "JobId=7 JobName=x UserId=root(0) JobState=FAILED Reason=NonZeroExitCode Restarts=2 ExitCode=3:0 Comment=a=b"
    assert parse_status(line) == Status("FAILED", "NonZeroExitCode", 3, 2)
    assert parse_status("JobState=CANCELLED Reason=None ExitCode=0:15").code == 15
    assert not parse_status("JobState=PENDING Reason=Resources Restarts=1 ExitCode=0:0").ended
    assert parse_status("JobState=COMPLETED").ended
    placed = "JobState=RUNNING Reason=None ReqNodeList=x NodeList=machine-[1-2] StdOut=/a JobState=FAILED"
    assert parse_status(placed) == Status("RUNNING", machines="machine-[1-2]")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status("PENDING", "Resources"), "waiting in Slurm: Resources"),
        (Status("PENDING"), "waiting in Slurm"),
        (Status("PENDING", "BeginTime", restarts=1), "waiting in Slurm: BeginTime, after 1 restart"),
        (Status("CONFIGURING", machines="dgx-[1-4]"), "Slurm makes dgx-[1-4] ready"),
        (Status("RUNNING", machines="dgx-[1-4]", restarts=2), "running in Slurm on dgx-[1-4], after 2 restarts"),
        (Status("SUSPENDED"), "Slurm: SUSPENDED"),
        (Status("COMPLETING"), ""),
        (Status("FAILED", "NonZeroExitCode", 1), ""),
    ],
)
def test_people_hear_where_a_job_stands(status: Status, told: str) -> None:
    assert status.told() == told


def test_the_most_machines_that_are_alike_and_up_are_offered() -> None:
    answer = "\n".join(
        [
            "4|192|2000000|gpu:h200:8(S:0-1)|idle",
            "2|192|2000000|gpu:h200:8(S:0-1)|mix",
            "3|64|500000|(null)|alloc",
            "90|192|2000000|gpu:h200:8(S:0-1)|down*",
        ]
    )
    assert parse_machines(answer) == Machines(6, 192, 2_000_000 << 20, ("h200",) * 8)
    assert parse_machines("1|8|1000+|gpu:2|idle") == Machines(1, 8, 1000 << 20, ("gpu",) * 2)
    assert parse_machines("1|8|1000|gpu:a100:1,gpu:a30:2,shard:9|idle") == Machines(
        1, 8, 1000 << 20, ("a100", "a30", "a30")
    )
    assert parse_machines("") is None


def test_the_script_asks_for_whole_machines_and_takes_the_operator_s_options() -> None:
    part = Part("run-1", Path("/shared/a b/job.json"), 0, 1, "h", 29_500, 16, 2)
    lines = script(part, "dgx", "batch", ("--account=law", "--time=4:00:00"), 8, "task").splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert asked >= {"--nodes=2", "--ntasks-per-node=1", "--exclusive", "--requeue", "--gpus-per-node=8"}
    assert asked >= {"--partition=batch", "--account=law", "--time=4:00:00", "--comment=run-1"}
    assert "srun --export=ALL --kill-on-bad-exit=1 --label task || code=$?" in lines
    assert "--dependency=singleton" in asked
