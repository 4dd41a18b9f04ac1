"""Before a gang that was preempted starts again: back to the newest checkpoint that all of its machines hold.

`python -m hub.training.slurm.resume JOB.json MACHINES`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hub.training import shards
from trust.files import write_atomic


def main(job: Path, machines: int) -> None:
    """The job's file names the step from then on."""
    content = json.loads(job.read_text())
    parts = shards.parts(Path(content["checkpoints"]), machines)
    held = next(shards.held(parts), 0)
    if held or not content.get("copy"):  # else once more from the copy
        content["resume_step"], content["copy"] = held, []
    for part in parts:
        shards.rewind(part, held)
    write_atomic(job, json.dumps(content).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
