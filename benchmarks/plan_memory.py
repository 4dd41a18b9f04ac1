"""The plan's memory against what training takes: `python -m benchmarks.plan_memory [--ranks 2] [--all]`.

For each small spec and layout, `ranks` real DeepSpeed processes train some steps. Measured is the most that torch's allocator
has given out on rank 0 since before the model was built, by its own count, which on a processor the profiler's record holds.
Beside it stands what the process grew by, which also holds libraries, their compiled kernels and gaps. The limit is the plan: a
ratio of 0.9 to 1.1.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from contributors.demo.parties import free_ports
from hub.training.launch import has_gpu
from learning.architectures import build_model
from learning.planning.census import census
from learning.planning.memory import memory
from learning.planning.tracing import held
from learning.pretraining import TrainingShape, block_loss, deepspeed_config
from protos.documents.runs import RunSpec

SPECS = Path(__file__).parents[1] / "hub" / "training" / "specs"
STEPS = 4
FEW = [("adamw", 1, False), ("adamw", 2, True), ("adamw", 3, False), ("muon", 1, False), ("muon", 2, True)]
ALL = [("adamw", stage, recompute) for stage in (0, 1, 2, 3) for recompute in (False, True)]
ALL += [("muon", stage, recompute) for stage in (0, 1, 2) for recompute in (False, True)]


def spec_of(name: str, stage: int, recompute: bool, optimizer: str) -> RunSpec:
    values = tomllib.loads((SPECS / f"{name}.toml").read_text())
    values["training"] |= {"zero_stage": stage, "recompute": recompute, "optimizer": optimizer}
    return RunSpec.read(values)


def planned(spec: RunSpec, ranks: int) -> int:
    training, values = spec.training, spec.architecture.hugging_face()
    passing = held(
        values,
        training.at_once,
        training.sequence_length,
        training.precision,
        training.recompute,
        segments=not has_gpu(),
    )
    return memory(
        census(values),
        passing,
        ranks=ranks,
        zero_stage=training.zero_stage,
        precision=training.precision,
        optimizer=training.optimizer,
    ).total


def measured(spec: RunSpec, ranks: int) -> tuple[int, int]:
    """Bytes of tensors and bytes by which the process grew, of a gang of processes of this script."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={ranks}", "--master_addr=127.0.0.1"]
    command += [f"--master_port={free_ports(1)}", "--module", "benchmarks.plan_memory", "--worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    if not has_gpu():
        environment["DS_ACCELERATOR"] = "cpu"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("MEASURED "):
            tensors, grown = map(int, line.split()[1:])
            return tensors, grown
    raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])


def worker() -> None:
    import deepspeed

    from hub.training.engines import training_shape

    # torchrun gives its standard input to one rank alone, so the spec comes through a file of the launcher.
    spec = RunSpec.read(json.loads(os.environ["COALITION_BENCH_SPEC"]))
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if has_gpu() else "gloo", verbose=False)
    shape = training_shape(spec.training)
    began = resident()
    if has_gpu():
        train(spec, shape)
        peak = int(torch.cuda.max_memory_allocated())
    else:
        count_in_every_thread()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            train(spec, shape)
        peak = highest(record)
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        print(f"MEASURED {peak} {resident() - began}", flush=True)


def train(spec: RunSpec, shape: TrainingShape) -> None:
    """Some steps of a fresh model of the spec, as a base run's worker makes them."""
    import deepspeed

    from hub.training.engines import optimized

    model = build_model(spec.architecture.hugging_face(), seed=0)
    if spec.training.recompute:
        model.activation_checkpointing_enable()
    config = deepspeed_config(
        shape, torch.distributed.get_world_size(), spec.training.zero_stage, model.num_parameters()
    )
    engine, *_ = deepspeed.initialize(model=model, config=config, **optimized(model, shape))
    blocks = torch.randint(0, spec.architecture.vocab_size, (spec.training.batch_size, spec.training.sequence_length))
    for _ in range(STEPS):
        for part in torch.split(blocks, shape.at_once):
            engine.backward(block_loss(engine, part.to(engine.device)))
            engine.step()


def count_in_every_thread() -> None:
    """Has torch's allocator count what threads give back of which a profiler hears nothing: gloo's have the last word on many a
    tensor that ranks exchanged. Torch (2.13) has a flag for it and no way to it from Python."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    ctypes.c_bool.in_dll(library, "FLAGS_caffe2_report_cpu_memory_usage").value = True


def highest(record: profile) -> int:
    """The most bytes that were out at once, by the allocator's count at each of its events; those of before it began to count are
    not among them."""
    most, events = 0, list(record.profiler.kineto_results.experimental_event_tree())  # type: ignore[union-attr]
    while events:
        event = events.pop()
        events += event.children
        most = max(most, getattr(event.typed[1], "total_allocated", 0))
    return most


def resident() -> int:
    """The most memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="every ZeRO stage, with and without recomputing")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker()
        return
    table = Table(
        "spec",
        "optimizer",
        "ZeRO",
        "recompute",
        "planned MB",
        "measured MB",
        "planned / measured",
        "process MB",
        title="Memory of a rank",
    )
    for name in ("tiny-dense", "tiny-experts"):
        for optimizer, stage, recompute in ALL if options.all else FEW:
            spec = spec_of(name, stage, recompute, optimizer)
            os.environ["COALITION_BENCH_SPEC"] = spec.model_dump_json()
            plan, (real, grown) = planned(spec, options.ranks), measured(spec, options.ranks)
            figures = [f"{plan / 1e6:.1f}", f"{real / 1e6:.1f}", f"{plan / real:.2f}", f"{grown / 1e6:.0f}"]
            table.add_row(name, optimizer, str(stage), "yes" if recompute else "no", *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
