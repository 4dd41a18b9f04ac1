"""What saving costs training: `python -m benchmarks.checkpoints [--steps 40] [--every 10] [--rounds 3]`.

The worker of base runs trains the model of the spec tiny-dense, one rank, on random tokens: in turn without checkpoints, with
them, and waiting for each to be on the disk. The figures are seconds of training with the last checkpoint on the disk. Stalled is
the share of the time between two checkpoints for which training stood still, as the worker reports it; the limit is 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks._measure import interleaved, show
from contributors.demo.parties import free_ports
from hub.training.launch import worker_environment
from learning.corpus import Corpus
from learning.tokenizer import save_tokenizer, train_tokenizer

SPEC = Path(__file__).parents[1] / "hub" / "training" / "specs" / "tiny-dense.toml"
LIMIT = 0.05
BATCH = 2


def prepare(folder: Path, steps: int) -> None:
    spec = tomllib.loads(SPEC.read_text())
    text = iter([Path(os.__file__).read_text()])
    (folder / "tokenizer").mkdir()
    save_tokenizer(train_tokenizer(text, spec["architecture"]["vocab_size"]), folder / "tokenizer")
    count = steps * BATCH * spec["training"]["sequence_length"]
    tokens = np.random.default_rng(0).integers(1, spec["architecture"]["vocab_size"], count, dtype=np.uint16)
    Corpus({"data-1": tokens}, {"data-1": "code"}).save(folder)


def train(folder: Path, steps: int, every: int, waits: bool, stalls: list[float]) -> float:
    """Seconds of a fresh training in a process of its own; the stalled shares are added to `stalls`."""
    spec = tomllib.loads(SPEC.read_text())
    spec["training"] |= {"steps": steps, "checkpoint_every": every, "batch_size": BATCH}
    spec["placement"] = {"nodes": 1}
    with tempfile.TemporaryDirectory(dir=folder) as own:
        job = {"spec": spec, "folder": own, "checkpoints": f"{own}/checkpoints", "resume_step": 0, "waits": waits}
        job |= {"copies": f"{own}/copies", "copy": []}
        job |= {
            "tokenizer": str(folder / "tokenizer"),
            "tokens": [str(path) for path in sorted(folder.glob("tokens-*"))],
        }
        path = Path(own) / "job.json"
        path.write_text(json.dumps(job))
        rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        environment = worker_environment(1, True) | rank | {"MASTER_PORT": str(free_ports(1))}
        command = [sys.executable, "-m", "benchmarks.checkpoints", "--worker", str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-4000:])
        events = [json.loads(line) for line in (Path(own) / "events.jsonl").read_text().splitlines()]
    stalls.extend(event["checkpoint_stall"] for event in events if "checkpoint_stall" in event)
    return float(next(line for line in done.stdout.splitlines() if line.startswith("TRAINED ")).split()[1])


def worker(path: str) -> None:
    from hub.training.worker import Worker

    class Timed(Worker):
        def _train(self) -> None:
            began = time.monotonic()
            super()._train()
            self._saver.wait()
            print(f"TRAINED {time.monotonic() - began}", flush=True)

        def _save(self, step: int, loss: float) -> None:
            super()._save(step, loss)
            if job["waits"]:
                self._saver.wait()

    began, job = time.time(), json.loads(Path(path).read_text())
    Timed(job, began).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    with tempfile.TemporaryDirectory() as made:
        folder, stalls = Path(made), list[float]()
        prepare(folder, options.steps)
        measure = partial(train, folder, options.steps)
        figures = interleaved(
            {
                "no checkpoint": lambda: 1000 * measure(options.steps, False, []),
                f"one every {options.every} steps": lambda: 1000 * measure(options.every, False, stalls),
                "waiting for the disk": lambda: 1000 * measure(options.every, True, []),
            },
            options.rounds,
        )
    show(f"{options.steps} steps of training", "ms", figures, "no checkpoint")
    share = statistics.median(stalls)
    Console().print(f"stalled {share:.1%} of the time (limit {LIMIT:.0%}), at most {max(stalls):.1%}", highlight=False)


if __name__ == "__main__":
    main()
