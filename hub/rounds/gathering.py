"""What becomes of a round's updates: one update, and each member's share in it with its reason.

Plain means are taken as the updates arrive. A cap on shares, exact means of adapters and the rules that compare members need all
of a round's adapters at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from learning.aggregation.low_rank import LowRankMean
from learning.aggregation.means import RunningMean
from learning.aggregation.robust import clipped, krum, trimmed_mean
from learning.aggregation.weighting import Share, Standing, raw_weight, shares
from learning.updates import check_names_and_shapes
from protos.documents.campaigns import CampaignSpec
from trust.errors import Invalid, Unavailable

LEFT_OUT = "Other members' updates are nearer to each other."
_Tensors = Mapping[str, Tensor]
Measure = Callable[[_Tensors], float]
"""An update's quality, 0 or more, more is better."""


@dataclass(frozen=True)
class Gathered:
    """`shares` of all whose updates were taken, by member; they sum to 1."""

    update: dict[str, Tensor]
    shares: dict[str, Share]


class Gathering:
    """Of one round, by its campaign's spec; `reference` is what every update started from. `measure` gives an update's quality
    where the campaign measures it."""

    def __init__(self, spec: CampaignSpec, reference: _Tensors, measure: Measure | None = None) -> None:
        self._spec, self._reference, self._measure = spec, reference, measure
        self._floor = spec.quality.floor if spec.quality else 0.0
        at_once = spec.averaging == "factors" and (spec.weighting == "equal" or spec.maximum_share == 1)
        self._mean = RunningMean(reference) if at_once else None
        self._held: dict[str, _Tensors] = {}
        self._standings: dict[str, Standing] = {}

    def __len__(self) -> int:
        return len(self._standings)

    def add(self, member: str, update: _Tensors, examples: int) -> Standing:
        """Take in a member's update; what it is weighed by. Raises `Invalid`, unchanged, for one that cannot be counted."""
        if self._spec.weighting == "examples" and not examples:
            raise Invalid("An update of no examples counts nothing.", field="examples")
        check_names_and_shapes(update, self._reference)
        if self._spec.clip_norm is not None:
            update, _ = clipped(update, self._reference, self._spec.clip_norm)
        standing = Standing(examples, self._measure(update) if self._measure else None)
        weight = raw_weight(standing, self._spec.weighting, self._floor)
        if weight and self._mean is None:
            self._held[member] = update
        elif weight and self._mean is not None:
            self._mean.add(update, weight)
        self._standings[member] = standing
        return standing

    def result(self) -> Gathered:
        """Raises `Unavailable` where the updates are too few for the spec's rule."""
        even = shares(self._standings, self._spec.weighting, self._spec.maximum_share, self._floor)
        if self._mean is not None:
            return Gathered(self._mean.result(), even)
        members, updates = list(self._held), list(self._held.values())
        match self._spec.averaging:
            case "median":
                return Gathered(trimmed_mean(updates, (len(updates) - 1) // 2), even)
            case "trimmed-mean":
                return Gathered(trimmed_mean(updates, min(self._spec.bad_updates, (len(updates) - 1) // 2)), even)
            case "krum" | "multi-krum":
                return self._chosen(members, updates, even)
        mean: LowRankMean | RunningMean = LowRankMean() if self._spec.averaging == "products" else RunningMean()
        for member, update in self._held.items():
            mean.add(update, even[member].weight)
        return Gathered(mean.result(), even)

    def _chosen(self, members: list[str], updates: list[_Tensors], even: Mapping[str, Share]) -> Gathered:
        """The mean of those that Krum chooses. What was left out of the round before counts among its bad ones."""
        count = len(updates)
        if count < 3:
            raise Unavailable(f"{self._spec.averaging} needs three updates to compare; {count} came.")
        bad = min(self._spec.bad_updates, (count - 3) // 2)
        keep = 1 if self._spec.averaging == "krum" else count - bad
        chosen = {members[place] for place in krum(updates, bad, keep)}
        mean = RunningMean()
        for member in sorted(chosen):
            mean.add(self._held[member], 1)
        reason = f"one of {keep} of {count} updates that are nearest to each other"
        found = {member: Share(1 / keep, reason) if member in chosen else Share(0.0, LEFT_OUT) for member in members}
        return Gathered(mean.result(), {**even, **found})
