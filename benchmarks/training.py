"""Training speed against its peers: `python -m benchmarks.training [--peers FOLDER] [--install] [--earlier CHECKOUT]`.

One tiny dense model and one with experts, the same batch, sequence length and thread for all; medians of short interleaved
stretches. Ours is the worker's own loop, DeepSpeed on one rank; the peers are a hand-written torch loop with the same
numbers, one whose optimizer computes in bf16 too, transformers' Trainer, and litgpt and torchtitan in environments of their
own under `--peers`, which `--install` makes. In bf16 litgpt and bare keep no fp32 weights and all others do; litgpt is tried
with them, too. torchtitan is compared with the dense model alone: its experts do not run on a processor (decision 20). The
limit is this machine's matrix products. Ratios are of processor time, which other work on the machine disturbs least; wall
time stands beside it. For machines without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from benchmarks._peers import install, python_of
from benchmarks._work import MARK, Work
from learning.planning.tracing import forward_flops
from protos.documents.runs import RunSpec

ROOT = Path(__file__).parents[1]
FOREIGN = {"litgpt": "litgpt==0.5.13", "torchtitan": "torchtitan==0.2.2 triton"}
"""torchtitan 0.3.0 has no attention left that trains on a processor; it imports triton and does not name it."""
MODELS = {"dense": Work(), "experts": Work(layers=4, intermediate=256, experts=8, picked=2)}
LIMIT = "matrix products"
AGAINST = "plain"


class Refused(Exception):
    """A contender that does not train here, and why."""


@dataclass(frozen=True)
class Speed:
    """Tokens a second by the wall's clock and by the processor's."""

    wall: float
    busy: float


class Contender:
    """A process of `_trainers`, of that checkout, that waits between its stretches."""

    def __init__(self, name: str, work: Work, python: Path, checkout: Path) -> None:
        self._tokens = work.tokens
        self._scratch = tempfile.TemporaryDirectory()
        self._log = Path(self._scratch.name) / "log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "GLOO_SOCKET_IFNAME": "lo"}
        environment |= {"DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-P", "-m", "benchmarks._trainers", name, json.dumps(asdict(work))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment | {"TMPDIR": self._scratch.name},
            )

    def ready(self) -> None:
        """Built and warm. Raises `Refused`."""
        self._answer()

    def measure(self, steps: int) -> Speed:
        assert self._process.stdin
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        wall, busy = map(float, self._answer().split())
        return Speed(steps * self._tokens / wall, steps * self._tokens / busy)

    def end(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()
        self._scratch.cleanup()

    def _answer(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK)
        said = reversed(self._log.read_text().splitlines())
        raise Refused(next((line for line in said if "Error" in line), "it ended without a word"))


def matrix_products(precision: str, seconds: float = 0.5) -> Speed:
    """Operations a second of products [1024, 1024] on one thread."""
    width, rounds = 1024, 0
    left = torch.ones(width, width, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    wall, busy = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - wall) < seconds:
        left @ left
        rounds += 1
    done = 2.0 * width**3 * rounds
    return Speed(done / passed, done / (time.process_time() - busy))


def contenders(work: Work, peers: Path | None, earlier: Path | None) -> dict[str, Contender]:
    """All that are there; why the others are not is printed."""
    here, made = Path(sys.executable), {}
    for name in ("ours", AGAINST, "bare", "trainer"):
        made[name] = Contender(name, work, here, ROOT)
    if earlier:
        made["ours, earlier"] = Contender("ours", work, here, earlier)
    for name in FOREIGN:
        if python := python_of(peers, name):
            made[name] = Contender(name, work, python, ROOT)
            if name == "litgpt" and work.precision == "bf16":
                made["litgpt, fp32 weights"] = Contender("litgpt_mixed", work, python, ROOT)
    return made


def warm(made: Mapping[str, Contender]) -> dict[str, Contender]:
    """Those that train here."""
    able = {}
    for name, contender in made.items():
        try:
            contender.ready()
            able[name] = contender
        except Refused as why:
            print(f"{name} is left out: {why}")
            contender.end()
    return able


def compare(title: str, work: Work, made: Mapping[str, Contender], rounds: int, steps: int) -> None:
    """Interleaved stretches of `steps`, and a table of their medians."""
    able = warm(made)
    speeds: dict[str, list[Speed]] = {name: [] for name in able}
    limits = []
    for _ in range(rounds):
        limits.append(matrix_products(work.precision).busy)
        for name, contender in able.items():
            speeds[name].append(contender.measure(steps))
    for contender in able.values():
        contender.end()
    table = Table("", "tokens/s", "tokens/s of processor time", f"ratio to {AGAINST}", f"of {LIMIT}", title=title)
    limit, each = median(limits), operations(work)
    reference = median(speed.busy for speed in speeds[AGAINST])
    for name, found in speeds.items():
        wall, busy = median(speed.wall for speed in found), median(speed.busy for speed in found)
        table.add_row(name, f"{wall:,.0f}", f"{busy:,.0f}", f"{busy / reference:.2f}", f"{busy * each / limit:.0%}")
    Console().print(table)
    load = os.getloadavg()[0]
    Console().print(f"{LIMIT}: {limit / 1e9:,.0f} GFLOP/s; load average {load:.1f}", highlight=False)


def operations(work: Work) -> float:
    """Counted for a token of training, forward and back."""
    training = {"steps": 1, "batch_size": 1, "sequence_length": work.length, "learning_rate": 1e-3}
    spec = RunSpec.read({"name": "measured", "architecture": work.architecture(), "training": training})
    return 3 * forward_flops(spec.architecture.hugging_face(), work.length) / work.length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of environments, outside this repository")
    parser.add_argument("--install", action="store_true", help="make those environments first")
    parser.add_argument("--earlier", type=Path, help="another checkout of this project, to compare ours with")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="in a stretch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.install and options.peers:
        own = f"torch=={torch.__version__.partition('+')[0]}"
        for name, packages in FOREIGN.items():
            install(options.peers, name, *packages.split(), own)
    for model in options.models:
        for precision in options.precisions:
            work = Work(**asdict(MODELS[model]) | {"precision": precision})
            title = f"{model}, {precision}, {work.batch} x {work.length} tokens, 1 thread"
            compare(title, work, contenders(work, options.peers, options.earlier), options.rounds, options.steps)


if __name__ == "__main__":
    main()
