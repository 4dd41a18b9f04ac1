"""What stays of a long course when not all of it can: of curves their highs and lows, of words the latest. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

MEASURED, TOLD, LOGGED = 1000, 500, 500
"""Rows that stay: with measurements, with words, and with lines that processes wrote."""
KEPT = MEASURED + TOLD + LOGGED
LOG = "log: "
"""How such a line begins."""
FEWEST = 4  # points of a curve, so that its ends, a low and a high are among them

Point = tuple[int, float]
"""A step and the value there."""


@dataclass(frozen=True)
class Row:
    """An event by its sequence number; `metrics` are (step, name, value)."""

    sequence: int
    message: str = ""
    metrics: Sequence[tuple[int, str, float]] = field(default_factory=list)


def extremes(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` of a curve's points, in order: its ends, and of each of equal stretches the lowest and the highest, so that
    what stands out once is still seen (min-max decimation: Jugel et al., M4, VLDB 2014)."""
    if len(points) <= max(limit, FEWEST):
        return list(points)
    kept, count = {0, len(points) - 1}, max(1, (limit - 2) // 2)
    for number in range(count):
        stretch = range(number * len(points) // count, (number + 1) * len(points) // count)
        kept |= {min(stretch, key=lambda at: points[at][1]), max(stretch, key=lambda at: points[at][1])}
    return [points[at] for at in sorted(kept)]


def superfluous(rows: Sequence[Row]) -> set[int]:
    """The numbers of the rows, which come in order, that are to go so that at most `KEPT` stay."""
    logged = [row.sequence for row in rows if row.message.startswith(LOG)]
    told = [row.sequence for row in rows if row.message and not row.message.startswith(LOG)]
    return {row.sequence for row in rows}.difference(logged[-LOGGED:], told[-TOLD:], _standing_out(rows))


def _standing_out(rows: Sequence[Row]) -> set[int]:
    """The numbers of at most `MEASURED` rows that hold the extremes of all curves. A step that was trained again counts as it was
    then."""
    curves: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
    for row in rows:
        for step, name, value in row.metrics:
            curves[name][step] = (value, row.sequence)
    usual = sorted(curves, key=lambda name: -len(curves[name]))[: MEASURED // FEWEST]  # nodes may name any number
    found: set[int] = set()
    for name in usual:
        points = [(step, value) for step, (value, _) in sorted(curves[name].items())]
        found |= {curves[name][step][1] for step, _ in extremes(points, MEASURED // len(usual))}
    return found
