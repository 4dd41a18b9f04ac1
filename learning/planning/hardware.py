"""Accelerators by name: memory, dense bf16 rate without sparsity, and power, as their makers' data sheets state them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from trust.errors import Invalid

GB = 1_000_000_000
_PROCESSOR = "cpu"


@dataclass(frozen=True)
class Accelerator:
    """`memory` in bytes, `flops` per second in bf16 products, `watts` at full load."""

    name: str
    memory: int
    flops: float
    watts: float

    @property
    def is_processor(self) -> bool:
        return self.name == _PROCESSOR


_KNOWN = [
    Accelerator("a100", 80 * GB, 312e12, 400),
    Accelerator("h100", 80 * GB, 989e12, 700),
    Accelerator("h200", 141 * GB, 989e12, 700),
    Accelerator("b200", 180 * GB, 2250e12, 1000),
    Accelerator("l40s", 48 * GB, 362e12, 350),
    Accelerator("mi250x", 128 * GB, 383e12, 560),
    Accelerator("mi300x", 192 * GB, 1307e12, 750),
    Accelerator("mi325x", 256 * GB, 1307e12, 1000),
]


def accelerator(name: str) -> Accelerator:
    """By its name in small letters, or by a maker's longer name that holds it ("NVIDIA H200"). Raises `Invalid`."""
    words = name.lower().replace("-", " ").split()
    for known in _KNOWN:
        if known.name in words:
            return known
    raise Invalid(f"Nothing is known of an accelerator {name!r}.", f"Known are {', '.join(k.name for k in _KNOWN)}.")


def processor(memory: int, cores: int) -> Accelerator:
    """A node without accelerators: `memory` in bytes; its rate is what this machine's matrix products reach, by the core."""
    return Accelerator(_PROCESSOR, memory, measured_rate() / torch.get_num_threads() * cores, 0.0)


def measured_rate(width: int = 1024, seconds: float = 0.3) -> float:
    """Operations per second of bf16 matrix products [width, width] on this machine's processor with torch's threads."""
    left = torch.ones(width, width, dtype=torch.bfloat16)
    began, rounds = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        left @ left
        rounds += 1
    return float(2 * width**3 * rounds / passed)
