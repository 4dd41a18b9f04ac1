"""How much each member's update counts, and why: a policy that every member can read and recompute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trust.errors import Invalid
from trust.sentences import counted

Weighting = Literal["equal", "examples", "quality"]


@dataclass(frozen=True)
class Standing:
    """What a member's update is weighed by. `quality` is measured on held-out data, 0 or more, more is better; `late` counts the
    rounds since the model that it started from."""

    examples: int
    quality: float | None = None
    late: int = 0


@dataclass(frozen=True)
class Share:
    """A member's part of the mean; all of a round's sum to 1, less what lateness takes. `reason` is a sentence for the member."""

    weight: float
    reason: str


def shares(
    standings: Mapping[str, Standing],
    weighting: Weighting,
    cap: float = 1.0,
    floor: float = 0.0,
    staleness: float = 0.5,
) -> dict[str, Share]:
    """Each member's share, by member. What a late update counts less (`freshness`) nobody gets, as in FedBuff: a round of late
    updates alone moves the model less.

    No share exceeds `cap`, as long as the members are enough to fill it: what is cut off goes to the others in proportion.
    Members whose measured quality is below `floor` do not count. Raises `Invalid` where nobody counts, for a cap outside 0 to 1
    and for a quality that is asked for and was not measured.
    """
    if not 0 < cap <= 1:
        raise Invalid(f"A member's share cannot be capped at {cap}.", "Give more than 0, at most 1.", field="cap")
    raw = {member: raw_weight(each, weighting, floor) for member, each in sorted(standings.items())}
    if not any(raw.values()):
        raise Invalid("No member's update counts.", "Lower the quality floor, or measure again.", field="floor")
    total = math.fsum(raw.values())
    capped = _capped({member: weight / total for member, weight in raw.items()}, cap)
    found = {}
    for member, weight in raw.items():
        fresh = freshness(standings[member].late, staleness)
        reason = _reason(standings[member], weighting, weight / total, capped[member], floor, fresh)
        found[member] = Share(capped[member] * fresh, reason)
    return found


def freshness(late: int, exponent: float = 0.5) -> float:
    """What an update counts that started `late` rounds ago: (1 + late) ** -exponent. Xie et al., arXiv:1903.03934, section 5.2;
    Nguyen et al., FedBuff, arXiv:2106.06639. Raises `Invalid` for an update from the future."""
    if late < 0 or exponent < 0:
        raise Invalid(f"An update cannot be {late} rounds late.", field="late")
    return float((1.0 + late) ** -exponent)


def raw_weight(standing: Standing, weighting: Weighting, floor: float = 0.0) -> float:
    """What a member's update weighs before shares are made to sum to 1 and lateness counts; 0 below the `floor`. Raises as
    `shares`."""
    quality = standing.quality
    if quality is not None and not (math.isfinite(quality) and quality >= 0):
        raise Invalid(f"The quality of the update is {quality}.", "Measure it again.", field="quality")
    if quality is None and (floor or weighting == "quality"):
        raise Invalid("The quality of the update was not measured.", "Evaluate it first.", field="quality")
    if quality is not None and quality < floor:
        return 0.0
    return {"equal": 1.0, "examples": float(standing.examples), "quality": quality or 0.0}[weighting]


def _capped(parts: Mapping[str, float], cap: float) -> dict[str, float]:
    """Shares cut at `cap`, what is cut off given to the others in proportion; equal ones where the cap leaves no room."""
    counting = {member for member, part in parts.items() if part}
    if cap * len(counting) <= 1:
        return {member: 1 / len(counting) if member in counting else 0.0 for member in parts}
    full: set[str] = set()
    while True:
        rest = math.fsum(parts[member] for member in counting - full)
        scale = (1 - cap * len(full)) / rest
        over = {member for member in counting - full if parts[member] * scale > cap}
        if not over:
            return {member: cap if member in full else part * scale for member, part in parts.items()}
        full |= over


def _reason(standing: Standing, weighting: Weighting, before: float, after: float, floor: float, fresh: float) -> str:
    if not before:
        below = standing.quality is not None and standing.quality < floor
        return (
            f"left out: quality {standing.quality:.4g} below the floor of {floor:.4g}" if below else "nothing to weigh"
        )
    by = {
        "equal": "every member counts the same",
        "examples": f"{standing.examples} examples",
        "quality": f"quality {standing.quality or 0:.4g}",
    }[weighting]
    late = f"; {counted(standing.late, 'round')} late, so it counts {fresh:.1%} of that" if standing.late else ""
    moved = (
        ""
        if math.isclose(before, after, rel_tol=1e-9)
        else f"; {before:.1%} became {after:.1%} by the cap on one member's share"
    )
    return f"{by}{moved}{late}"
