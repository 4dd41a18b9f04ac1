"""What this machine offers to the scheduler."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from hub.training.launch import has_gpu
from protos.coalition.v1 import training_pb2


def inventory(host: str, labels: Mapping[str, str]) -> training_pb2.Inventory:
    """Cores, memory in bytes, accelerators as `nvidia-smi` lists them. Imports no torch: that takes seconds."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return training_pb2.Inventory(
        cores=os.cpu_count() or 1, memory=memory, accelerators=_accelerators(), labels=dict(labels), host=host
    )


def threads() -> int:
    """Threads for one worker: OMP_NUM_THREADS where it is set, for example because several agents share a machine."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else os.cpu_count() or 1


def _accelerators() -> list[training_pb2.Accelerator]:
    if not has_gpu() or not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = [line.rsplit(",", 1) for line in answer.stdout.splitlines() if "," in line]
    return [training_pb2.Accelerator(kind=kind.strip(), memory=int(float(mib)) << 20) for kind, mib in found]
