"""What this machine offers to the scheduler, and whether it is well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hub.training.accelerators import Found, accelerators, watched
from protos.coalition.v1 import training_pb2

INFINIBAND = Path("/sys/class/infiniband")
LEAST_ROOM = 0.02
"""The part of the disk that must be free: a run that cannot save its checkpoints is of no use."""


def inventory(host: str, labels: Mapping[str, str], directory: Path) -> training_pb2.Inventory:
    """Cores, memory in bytes, accelerators, health, and labels: what is found, and what the operator says in its place."""
    found = accelerators()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return training_pb2.Inventory(
        cores=os.cpu_count() or 1,
        memory=memory,
        accelerators=[training_pb2.Accelerator(kind=each.kind, memory=each.memory) for each in found],
        labels={**found_labels(found, INFINIBAND), **labels},
        host=host,
        health=trouble(found, directory),
    )


def health(directory: Path) -> str:
    """Why this machine should be given nothing now; empty when it is well."""
    return trouble(watched(), directory)


def trouble(found: Sequence[Found], directory: Path) -> str:
    ill = next((f"accelerator {n} ({each.kind}) {each.trouble}" for n, each in enumerate(found) if each.trouble), "")
    if ill:
        return ill
    disk = shutil.disk_usage(directory)
    return "" if disk.free >= LEAST_ROOM * disk.total else f"its disk has {disk.free:,} bytes left"


def found_labels(found: Sequence[Found], infiniband: Path) -> dict[str, str]:
    """`nvlink`: the one domain of all accelerators; `ib`: the subnet of the first active InfiniBand port."""
    labels = {}
    domains = {each.domain for each in found}
    if len(domains) == 1 and (domain := domains.pop()):
        labels["nvlink"] = domain
    if subnet := _subnet(infiniband):
        labels["ib"] = subnet
    return labels


def _subnet(infiniband: Path) -> str:
    """The first half of the port's first global identifier: the same for all ports of a fabric."""
    for port in sorted(infiniband.glob("*/ports/*")):
        try:
            active = "ACTIVE" in (port / "state").read_text()
            if active and (port / "link_layer").read_text().strip() == "InfiniBand":
                return (port / "gids" / "0").read_text().strip().replace(":", "")[:16]
        except OSError:
            continue
    return ""


def threads(workers: int = 1) -> int:
    """Threads for each of them: OMP_NUM_THREADS where it is set, for example because several agents share a machine."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else max(1, (os.cpu_count() or 1) // workers)
