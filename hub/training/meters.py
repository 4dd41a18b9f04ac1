"""What a worker measures between two reports: losses by domain over all ranks. Nothing waits for the device until a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

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
