"""How soon a rank that was killed trains again: `python -m benchmarks.recovery [--rounds 3]`.

One node's launcher starts a rank on the spec tiny-dense, kills it after its first checkpoint and starts it anew from there: in
turn as it is, and with a process that stands by (`coalition-hub node --warm`). The figures are from the order to the end of the
first step; the split is what the worker itself tells those who watch a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console

from benchmarks._measure import interleaved, show
from benchmarks.checkpoints import SPEC, prepare
from contributors.demo.parties import free_ports
from hub.training import shards
from hub.training.launching import Job, OnThisMachine, Part
from hub.training.workplace import Workplace

STEPS, EVERY, BATCH = 400, 5, 2
POLL = 0.05
READY = 3.0  # seconds without work after which a process has imported what it imports


async def told(part: Part, job: Job, word: str) -> str:
    """The first event of a rank that holds this word."""
    while job.running:
        lines = (
            (part.folder / "events.jsonl").read_text().splitlines() if (part.folder / "events.jsonl").exists() else []
        )
        if found := next((line for line in lines if word in line), ""):
            return found
        await asyncio.sleep(POLL)
    raise SystemExit(job.last_words())


async def idle(folder: Path) -> None:
    """Until all processes that stand by there do nothing."""
    worked, since = -1, time.monotonic()
    while time.monotonic() - since < READY:
        stats = [path for path in Path("/proc").glob("[0-9]*/stat") if str(folder).encode() in _line(path)]
        now = sum(sum(map(int, path.read_text().rpartition(")")[2].split()[11:13])) for path in stats)
        if now != worked:
            worked, since = now, time.monotonic()
        await asyncio.sleep(POLL)


def _line(stat: Path) -> bytes:
    try:
        return stat.with_name("cmdline").read_bytes()
    except OSError:
        return b""


async def recovered(data: Path, warm: bool, splits: list[str]) -> float:
    """Seconds from the second order to the end of its first step."""
    with tempfile.TemporaryDirectory(dir=data) as own, grpc.insecure_channel("127.0.0.1:1") as channel:
        place, launcher = Workplace(Path(own), channel, show_key=True), OnThisMachine(warm=warm)
        part = ordered(data, place, 1, 0)
        job = await launcher.start(part, place)
        await told(part, job, '"kind": "checkpoint"')
        await launcher.stand_by(part, place)
        await idle(place.home / "warm")
        await job.kill()
        step = next(shards.held([place.checkpoints("run-1")]))
        shards.rewind(place.checkpoints("run-1"), step)
        part, began = ordered(data, place, 2, step), time.monotonic()
        job = await launcher.start(part, place)
        splits.append(json.loads(await told(part, job, "goes on from step"))["message"])
        seconds = time.monotonic() - began
        await job.kill()
        return seconds


def ordered(data: Path, place: Workplace, attempt: int, step: int) -> Part:
    spec: dict[str, Any] = tomllib.loads(SPEC.read_text())
    spec["training"] |= {"steps": STEPS, "checkpoint_every": EVERY, "batch_size": BATCH}
    spec["placement"] = {"nodes": 1}
    folder = place.attempt_folder("run-1", attempt)
    job = {"spec": spec, "folder": str(folder), "checkpoints": str(place.checkpoints("run-1")), "resume_step": step}
    job |= {"copies": str(folder / "copies"), "copy": []}
    job |= {"tokenizer": str(data / "tokenizer"), "tokens": [str(path) for path in sorted(data.glob("tokens-*"))]}
    (folder / "job.json").write_text(json.dumps(job))
    return Part("run-1", folder / "job.json", 0, 1, "127.0.0.1", free_ports(1), 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    splits: dict[bool, list[str]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made), STEPS)
        figures = interleaved(
            {
                name: lambda warm=warm: 1000 * asyncio.run(recovered(Path(made), warm, splits[warm]))  # type: ignore[misc]
                for name, warm in (("cold", False), ("warm", True))
            },
            options.rounds,
        )
    show("from the order to the end of the first step", "ms", figures, "cold")
    for warm, told in splits.items():
        Console().print(f"{'warm' if warm else 'cold'}: {told[-1]}", highlight=False)


if __name__ == "__main__":
    main()
