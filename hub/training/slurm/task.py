"""What srun starts on each machine of a gang: torchrun, placed by what Slurm says.

`python -m hub.training.slurm.task JOB.json HOME PROCESSES PORT`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hub.training.inventory import threads
from hub.training.launch import torchrun, worker_environment


def main(job: Path, home: Path, processes: int, port: int) -> None:
    """Becomes torchrun. The rendezvous is where the batch script runs, the first of the machines."""
    host = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    rank, world = int(os.environ["SLURM_NODEID"]), int(os.environ["SLURM_NNODES"])
    command = torchrun(job, rank=rank, world=world, host=host, port=port, processes=processes)
    environment = worker_environment(threads(processes), host.startswith("127."), job.parent / "tmp", home, peer=host)
    os.execve(command[0], command, environment)  # noqa: S606


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
