"""What is handed to sbatch for a gang."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from hub.training.launching import Part


def script(part: Part, node: str, partition: str, options: Sequence[str], accelerators: int, command: str) -> str:
    """Whole machines, one task on each, which starts that machine's ranks; put back into the queue when it is preempted.

    `options` are the operator's, such as --account=law; `command` is what srun starts.
    """
    directives = [
        f"--job-name={name(node)}",
        f"--comment={part.run}",
        f"--nodes={part.machines}",
        "--ntasks-per-node=1",
        "--exclusive",
        "--requeue",
        "--open-mode=append",
        f"--output={part.folder / 'log'}",
        *([f"--partition={partition}"] if partition else []),
        *([f"--gpus-per-node={accelerators}"] if accelerators else []),
        *options,
    ]
    paths = os.pathsep.join(path for path in sys.path if path)
    lines = [
        "#!/bin/sh",
        *(f"#SBATCH {directive}" for directive in directives),
        "set -eu",
        f"export PYTHONPATH={shlex.quote(paths)}",
        'if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then',
        f"  {shlex.join([sys.executable, '-m', 'hub.training.slurm.resume', str(part.job), str(part.machines)])}",
        "fi",
        f"exec srun --export=ALL --kill-on-bad-exit=1 {command}",
    ]
    return "\n".join(lines) + "\n"


def name(node: str) -> str:
    """Of all jobs of an agent."""
    return f"coalition-{node}"
