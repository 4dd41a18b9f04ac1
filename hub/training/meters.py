"""What a worker measures between two reports: losses by domain over all ranks, and speed. Nothing waits for the device until
a report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hub.training.launch import has_gpu
from learning.planning.hardware import accelerator, measured_rate
from learning.planning.tracing import forward_flops
from trust.errors import Invalid

LOSS = "loss"


class Losses:
    """Cross entropies by row, in nats a token; by domain, too, where there are several."""

    def __init__(self, domains: Iterable[str], device: torch.device | str) -> None:
        self._domains = sorted(set(domains))
        self._sums = torch.zeros(2, len(self._domains), device=device)  # of losses, and rows

    def add(self, rows: Tensor, domains: Sequence[str]) -> None:
        """Losses [rows] of sequences of these domains."""
        numbers = torch.tensor([self._domains.index(domain) for domain in domains], device=self._sums.device)
        self._sums[0].index_add_(0, numbers, rows.detach().float())
        self._sums[1].index_add_(0, numbers, torch.ones_like(rows, dtype=torch.float32))

    def take(self, prefix: str = "") -> dict[str, float]:
        """The mean over all ranks since the last time, under `loss` and, for each of several domains, `loss/DOMAIN`. Every rank
        must ask, and gets the same answer."""
        total = self._sums.clone()
        self._sums.zero_()
        torch.distributed.all_reduce(total)
        sums, counts = total.double().tolist()
        found = {prefix + LOSS: sum(sums) / sum(counts)}
        if len(self._domains) > 1:
            pairs = zip(self._domains, sums, counts, strict=True)
            found |= {f"{prefix}{LOSS}/{domain}": loss / count for domain, loss, count in pairs if count}
        return found


class Speed:
    """Tokens of all ranks a second, and the share of the ranks' peak rate that their counted operations take (MFU: Chowdhery et
    al., PaLM, 2022, appendix B)."""

    def __init__(self, world: int) -> None:
        self._world, self._peak = world, peak_rate()
        self._flops = self._done = 0.0
        self._tokens, self._began = 0, time.monotonic()

    def model(self, values: Mapping[str, Any], length: int) -> None:
        """From now on tokens are those of this configuration's model in sequences of `length`."""
        self._flops = 3 * forward_flops(values, length) / length

    def add(self, tokens: int) -> None:
        self._tokens += tokens
        self._done += tokens * self._flops

    def restart(self) -> None:
        """Time that went into something else does not count."""
        self._tokens, self._done, self._began = 0, 0.0, time.monotonic()

    def take(self) -> dict[str, float]:
        """`tokens_per_second` and, where the accelerator's peak is known, `mfu` since the last time."""
        seconds = time.monotonic() - self._began
        found = {"tokens_per_second": self._tokens / seconds}
        if self._peak:
            found["mfu"] = self._done / (seconds * self._world * self._peak)
        self.restart()
        return found


class Return:
    """How long a run that goes on from a checkpoint takes until it trains again, since `ordered` (seconds of the epoch)."""

    def __init__(self, ordered: float) -> None:
        self._start, self._began = time.time() - ordered, time.monotonic()
        self._load = 0.0

    def loaded(self) -> None:
        now = time.monotonic()
        self._load, self._began = now - self._began, now

    def told(self, step: int) -> str:
        """After the first step, for people."""
        took = f"{self._start:.1f} s to start, {self._load:.1f} s to load"
        return f"goes on from step {step}: {took}, {time.monotonic() - self._began:.1f} s for the first step"


def peak_rate() -> float:
    """Operations a second that this rank's accelerator is made for, or its processor's measured ones; 0 where nothing is known of
    an accelerator."""
    if not has_gpu():
        return measured_rate()
    try:
        return accelerator(torch.cuda.get_device_name()).flops
    except Invalid:
        return 0.0
