"""A base run as it goes, in a terminal: what was heard of it, and how that is shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from contributors.cli.terminal import err, plain, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from protos.coalition.v1 import common_pb2

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 48  # of a sparkline, in characters
_RECENT = 20  # reports that say how fast it goes
_HELD_OUT = "held_out_"


class Heard:
    """What the events so far say. `nodes` are those at work."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step = steps, 0
        self.phase, self.nodes = "waiting", tuple[str, ...]()
        self.latest: dict[str, float] = {}
        self.losses: dict[int, float] = {}
        self._pace: deque[tuple[int, datetime]] = deque(maxlen=_RECENT)

    def hear(self, event: common_pb2.ProgressEvent) -> None:
        self.phase = event.phase
        for metric in event.metrics:
            self.latest[metric.name] = metric.value
            if metric.name == "loss":
                self._advance(metric.step, metric.value, event.time)

    def _advance(self, step: int, loss: float, time: str) -> None:
        """A step that was reported; an earlier one than before where training went back."""
        if step <= self.step:
            self._pace.clear()
            self.losses = {at: value for at, value in self.losses.items() if at < step}
        self.step = step
        self.losses[step] = loss
        self._pace.append((step, datetime.fromisoformat(time)))

    @property
    def left(self) -> float | None:
        """Seconds to the last step at the pace of late; none before there is one."""
        if len(self._pace) < 2:
            return None
        (first, began), (last, ended) = self._pace[0], self._pace[-1]
        return (ended - began).total_seconds() / (last - first) * (self.steps - last)

    def by_domain(self, prefix: str = "") -> dict[str, float]:
        start = f"{prefix}loss/"
        return {name.removeprefix(start): value for name, value in self.latest.items() if name.startswith(start)}


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """The course of `values` in at most `width` characters, the highest a full block."""
    count = min(width, len(values))
    means = [_mean(values[i * len(values) // count : (i + 1) * len(values) // count]) for i in range(count)]
    if not means:
        return ""
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in means)


def duration(seconds: float) -> str:
    """For people: two units at most."""
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"


def picture(heard: Heard) -> RenderableType:
    """Step and time left, losses, speed, nodes."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    left = "" if heard.left is None else f", {duration(heard.left)} left"
    table.add_row(plain(heard.phase), f"step {heard.step:,} of {heard.steps:,}{left}")
    table.add_row("", ProgressBar(total=max(heard.steps, 1), completed=heard.step, width=_WIDTH))
    latest = heard.latest
    if heard.losses:
        table.add_row(
            "loss", f"{sparkline(list(heard.losses.values()))} {latest['loss']:.4f}{_each(heard.by_domain())}"
        )
    if f"{_HELD_OUT}loss" in latest:
        table.add_row("held out", f"{latest[f'{_HELD_OUT}loss']:.4f}{_each(heard.by_domain(_HELD_OUT))}")
    if "tokens_per_second" in latest:
        share = f", MFU {latest['mfu']:.1%}" if "mfu" in latest else ""
        table.add_row("speed", f"{latest['tokens_per_second']:,.0f} tokens/s{share}")
    if "learning_rate" in latest:
        table.add_row("rate", f"{latest['learning_rate']:.3g}")
    if heard.nodes:
        table.add_row("nodes", plain(", ".join(heard.nodes)))
    return table


def show(
    events: Iterable[common_pb2.ProgressEvent], steps: int, nodes: Callable[[], Sequence[str]]
) -> common_pb2.ProgressEvent | None:
    """Follow a run to its end; answers with the last event. `nodes` tells who works on it now."""
    from rich.live import Live

    heard, last = Heard(steps), None
    with Live(console=err, transient=True, auto_refresh=False) as live:
        for last in events:
            heard.hear(last)
            if last.message:
                say((last.time[11:19], "dim"), f" {last.phase}: {last.message}")
                heard.nodes = tuple(nodes())
            live.update(picture(heard), refresh=True)
    return last


def _each(losses: dict[str, float]) -> str:
    listed = ", ".join(f"{plain(domain)} {loss:.4f}" for domain, loss in sorted(losses.items()))
    return f"  ({listed})" if listed else ""


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
