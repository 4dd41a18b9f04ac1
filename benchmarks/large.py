"""A round whose updates are as large as a large model: what it takes beside local files, and what the server holds meanwhile.

    python -m benchmarks.large [--megabytes 1000] [--sites 3]

One round of a campaign but for the training, over TLS, all processes real: the model goes out to every site, an adapter of as
many bytes comes back from each, is checked, averaged and merged, and the next model is on the disk. Its seconds stand beside
those of reading, hashing and averaging as many bytes from local files, which are in the system's cache as well.

Memory is each kind of process's at its most, without what is mapped from files, which the system takes back whenever others need
it; a round of a model of 1 MB before it says what of that is libraries. Disk is that of hub and sites, files without a name
counted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import _federation
from benchmarks._measure import Most
from benchmarks._rounds import Peak, descendants, named
from hub.rounds.plan import round_directory
from learning.aggregation.means import RunningMean
from learning.updates import load_tensors
from trust.digests import digest_bytes

SERVER = "SuperLink and server app"
FLOOR = 1.0  # MB of a model that is as good as none
_GONE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .* (/.*) \(deleted\)$", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """Of a round: `seconds` from when the sites are asked until the next model is there, `local` those of the same with files;
    `memory` by kind of process, `disk`, bytes `moved`, and bytes of the `model` and of an `update`."""

    seconds: float
    stages: Mapping[str, float]
    local: float
    memory: Mapping[str, int]
    disk: int
    moved: int
    model: int
    update: int


class Disk(Most):
    """The most that lay in `folder` while the block ran, with what processes hold mapped of files that lost their name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(0.5)
        self._folder = folder

    def now(self) -> int:
        return self._named() + self._nameless()

    def _named(self) -> int:
        found = 0
        for folder, _, names in os.walk(self._folder):
            for name in names:
                try:
                    found += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except OSError:
                    continue
        return found

    def _nameless(self) -> int:
        found = 0
        for pid in descendants(os.getpid()):
            try:
                maps = Path(f"/proc/{pid}/maps").read_text()
            except OSError:
                continue
            inside = (each for each in _GONE.findall(maps) if each[2].startswith(str(self._folder)))
            found += sum(int(end, 16) - int(start, 16) for start, end, _ in inside)
        return found


def run_round(folder: Path, megabytes: float, sites: int) -> Found:
    """All processes are started for it and ended after it."""
    with ExitStack() as running:
        campaign, relay = running.enter_context(_federation.laid_out(folder, megabytes, 1, sites))
        kinds = {**_federation.KINDS, SERVER: "hub.rounds."}
        peaks = {kind: running.enter_context(Peak(lambda word=word: named(word))) for kind, word in kinds.items()}  # type: ignore[misc]
        disk = running.enter_context(Disk(folder))
        begun, said = 0.0, {}
        for moment, event in _federation.events(campaign):
            stage = next((stage for stage, words in _federation.STAGES.items() if words in event.message), None)
            begun = begun or (moment if stage else 0.0)
            if stage:
                said[stage] = moment - begun
        moved = relay.moved
    assert "merged and written" in said, said
    update = round_directory(campaign, 1) / "adapter.safetensors"
    model = sum(path.stat().st_size for path in (campaign / "parent").iterdir())
    memory = {kind: peak.bytes for kind, peak in peaks.items()}
    seconds = said["merged and written"]
    return Found(seconds, said, local(update, sites), memory, disk.bytes, moved, model, update.stat().st_size)


def local(update: Path, count: int) -> float:
    """Seconds for so many files of an update's bytes, read, hashed and averaged one after the other."""
    files = [update.with_name(f"{number}.copy") for number in range(count)]
    for path in files:
        shutil.copyfile(update, path)
    began, mean = time.perf_counter(), RunningMean()
    for path in files:
        data = path.read_bytes()
        digest_bytes(data)
        mean.add(load_tensors(data), 1)
    mean.result()
    return time.perf_counter() - began


def show(found: Found, floor: Found, sites: int) -> None:
    console = Console()
    size = f"{found.model / 1e6:,.0f} MB of model, {found.update / 1e6:,.0f} MB of update"
    ratio = found.seconds / found.local
    print(f"{sites} sites, {size}: {found.seconds:.1f} s, {ratio:.1f} times the {found.local:.1f} s of local files")
    print("seconds until: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found.stages.items()))
    print(f"moved {found.moved / 1e6:,.0f} MB between server and sites, disk {found.disk / 1e6:,.0f} MB at the most")
    table = Table("memory of", "MB", "of that libraries", "beyond them, in models")
    for kind, most in found.memory.items():
        beyond = (most - floor.memory[kind]) / found.model
        table.add_row(kind, f"{most / 1e6:,.0f}", f"{floor.memory[kind] / 1e6:,.0f}", f"{beyond:.2f}")
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--sites", type=int, default=3)
    given = parser.parse_args()
    found = []
    for megabytes in (FLOOR, given.megabytes):
        with tempfile.TemporaryDirectory(prefix="large-", ignore_cleanup_errors=True) as folder:
            found.append(run_round(Path(folder), megabytes, given.sites))
    show(found[1], found[0], given.sites)


if __name__ == "__main__":
    main()
