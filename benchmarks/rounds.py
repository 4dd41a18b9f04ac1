"""What a federated round costs beside its training: ours against Flower and NVIDIA FLARE out of the box, in turn.

    python -m benchmarks.rounds [--megabytes 10] [--sites 3] [--rounds 4] [--times 2] [--peers FOLDER] [--install]

All processes of each contender are started for its turn, TLS and authentication on; its first round is not counted. Ours is a
whole round of a campaign but for the training: the model goes out, an adapter of as many bytes comes back, is checked, averaged
and merged, and the next model is on the disk. Flower's sends an array of the model's size, gets it back and averages it; so
does FLARE, in an environment of its own below `--peers`, which `--install` makes.

Processor seconds are those of all processes and say more than the clock where others use the machine; ours are split by
process, and our seconds by what the server app does one after the other. Memory is the server's at its most, libraries and all.
Bytes are those between server and sites.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import _federation, _flare, _flower
from benchmarks._peers import install, python_of
from benchmarks._rounds import Rounds

CONTENDERS: dict[str, Callable[[Path, float, int, int], Rounds]] = {
    "ours": _federation.run_rounds,
    "Flower out of the box": _flower.run_rounds,
}
FLARE = "NVIDIA FLARE"


def show(title: str, found: dict[str, list[Rounds]], model: float) -> None:
    table = Table(
        "", "s a round", "ratio", "processor s", "ratio", "MB moved", "of the model", "server MB", title=title
    )
    figures = {name: _figures(runs) for name, runs in found.items()}
    base = figures["Flower out of the box"]
    for name, (seconds, processor, moved, peak) in figures.items():
        row = [f"{seconds:.2f}", f"{seconds / base[0]:.2f}", f"{processor:.2f}", f"{processor / base[1]:.2f}"]
        table.add_row(name, *row, f"{moved / 1e6:.1f}", f"{moved / model:.1f}", f"{peak / 1e6:,.0f}")
    Console().print(table)
    for name, runs in found.items():
        for what, found_of in (("processor seconds", "parts"), ("seconds", "stages")):
            split = [f"{part} {value:.2f}" for part, value in _split([getattr(run, found_of) for run in runs]).items()]
            if split:
                Console().print(f"{name}, {what} of a round: {', '.join(split)}", highlight=False)
    Console().print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", highlight=False)


def _figures(runs: list[Rounds]) -> tuple[float, float, float, float]:
    seconds = statistics.median(value for run in runs for value in run.seconds)
    middle = (statistics.median(getattr(run, name) for run in runs) for name in ("processor", "moved"))
    return seconds, *middle, max(run.peak for run in runs)


def _split(found: list[Mapping[str, float]]) -> dict[str, float]:
    """The median of each part over the runs."""
    return {part: statistics.median(each.get(part, 0.0) for each in found) for part in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--peers", type=Path, help="folder of environments, outside this repository")
    parser.add_argument("--install", action="store_true", help="make FLARE's environment there first")
    given = parser.parse_args()
    if given.install and given.peers:
        install(given.peers, _flare.NAME, _flare.PACKAGE)
    contenders = dict(CONTENDERS)
    if python := python_of(given.peers, _flare.NAME):
        contenders[FLARE] = partial(_flare.run_rounds, python)
    found: dict[str, list[Rounds]] = {name: [] for name in contenders}
    for _ in range(given.times):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory(prefix="rounds-", ignore_cleanup_errors=True) as folder:
                found[name].append(contender(Path(folder), given.megabytes, given.rounds, given.sites))
                print(f"{name}: {found[name][-1]}", flush=True)  # stays, if a later run fails
    show(f"{given.sites} sites, {given.megabytes:g} MB, no training", found, given.megabytes * 1e6)


if __name__ == "__main__":
    main()
