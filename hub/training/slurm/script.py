"""What is handed to sbatch for a gang."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from hub.training.launching import Part

CODE = "code"
"""The file in an attempt's folder that keeps how its job ended: Slurm forgets a job soon after its end."""


def script(part: Part, node: str, partition: str, options: Sequence[str], accelerators: int, command: str) -> str:
    """Whole machines, one task on each, which starts that machine's ranks; put back into the queue when it is preempted, and
    never at work beside another of this agent.

    `options` are the operator's, such as --account=law; `command` is what srun starts.
    """
    directives = [
        f"--job-name={name(node)}",
        f"--comment={part.run}",
        f"--nodes={part.machines}",
        "--ntasks-per-node=1",
        "--exclusive",
        "--requeue",
        "--dependency=singleton",
        "--open-mode=append",
        f"--output={part.folder / 'log'}",
        *([f"--partition={partition}"] if partition else []),
        *([f"--gpus-per-node={accelerators}"] if accelerators else []),
        *options,
    ]
    paths = os.pathsep.join(path for path in sys.path if path)
    code = shlex.quote(str(part.folder / CODE))
    lines = [
        "#!/bin/sh",
        *(f"#SBATCH {directive}" for directive in directives),
        "set -eu",
        f"rm -f {code}",
        f"export PYTHONPATH={shlex.quote(paths)}",
        'if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then',
        f"  {shlex.join([sys.executable, '-m', 'hub.training.slurm.resume', str(part.job), str(part.machines)])}",
        "fi",
        "code=0",
        f"srun --export=ALL --kill-on-bad-exit=1 --label {command} || code=$?",
        f"echo $code > {code}",
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def name(node: str) -> str:
    """Of all jobs of an agent."""
    return f"coalition-{node}"
