"""Time, energy, cost and lost work of a run, from counted operations and stated assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY = 86_400.0
HOUR = 3_600.0
OVERHEAD = 1.6  # a node's power to that of its accelerators at full load: host, network, cooling


@dataclass(frozen=True)
class Assumptions:
    """What a forecast rests on and says so: `mfu`, the share of the accelerators' peak that training reaches; `price` of one
    accelerator hour; `disk`, bytes per second a node writes; `mtbf`, hours between failures of one node (Llama 3, 2024: 419 in
    54 days on 2,048 nodes); `restart`, seconds from a failure to the next step."""

    mfu: float = 0.4
    price: float = 2.5
    disk: float = 2e9
    mtbf: float = 6_000.0
    restart: float = 300.0


@dataclass(frozen=True)
class Forecast:
    """`step` and `days` in seconds and days of undisturbed training, `energy` in kWh, `cost` in the price's currency.

    `checkpoint` is the seconds a checkpoint takes to write, `every` the steps between two that lose least (Daly, 2006),
    `failures` the number to expect, `lost` the share of time that checkpoints, repeated steps and restarts take.
    """

    step: float
    tokens_per_second: float
    days: float
    energy: float
    cost: float
    checkpoint: float
    every: int
    failures: float
    lost: float


def forecast(
    *,
    step_flops: float,
    step_tokens: float,
    steps: int,
    accelerators: int,
    nodes: int,
    peak: float,
    watts: float,
    checkpoint_bytes: int,
    assumed: Assumptions,
) -> Forecast:
    """Of `steps` steps of `step_flops` operations on average, on `accelerators` of `peak` operations a second and `watts`."""
    step = step_flops / (accelerators * peak * assumed.mfu)
    seconds = step * steps
    writing = checkpoint_bytes / (nodes * assumed.disk)
    between = assumed.mtbf * HOUR / nodes  # seconds between failures of any node
    every = max(1, round(math.sqrt(2 * writing * between) / step)) if writing < between else 1
    failures = seconds / between
    lost = writing / (every * step) + (every * step / 2 + assumed.restart) / between
    hours = accelerators * seconds * (1 + lost) / HOUR
    return Forecast(
        step=step,
        tokens_per_second=step_tokens / step,
        days=seconds * (1 + lost) / DAY,
        energy=hours * watts * OVERHEAD / 1000,
        cost=hours * assumed.price,
        checkpoint=writing,
        every=min(every, steps),
        failures=failures,
        lost=lost,
    )
