"""What becomes of a round's updates: one update, and each member's share in it with its reason.

Plain means are taken as the updates arrive. A cap on shares, exact means of adapters and the rules that compare members need all
of a round's adapters at its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from learning.aggregation.low_rank import LowRankMean
from learning.aggregation.means import MeanOfGivers, RunningMean
from learning.aggregation.robust import clipped, coordinate_median, krum, trimmed_mean
from learning.aggregation.weighting import Share, Standing, raw_weight, shares
from learning.privacy.means import PrivateMean
from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from learning.weights import of_experts
from protos.documents.campaigns import CampaignSpec
from trust.errors import Invalid, Unavailable

LEFT_OUT = "Other members' updates are nearer to each other."
_Tensors = Mapping[str, Tensor]
Measure = Callable[[_Tensors], float]
"""An update's quality, 0 or more, more is better."""


@dataclass(frozen=True)
class Gathered:
    """`shares` of all whose updates were taken, by member; they sum to 1, less what lateness takes."""

    update: dict[str, Tensor]
    shares: dict[str, Share]


def own_start(spec: CampaignSpec, member: str, reference: _Tensors) -> _Tensors:
    """Of what a round's updates start from, what this member's does: all of it, but where members train experts of their own."""
    if spec.experts is None or spec.experts.own is None:
        return reference
    return of_experts(reference, spec.experts.of(member))


class Gathering:
    """Of one round, by its campaign's spec; `reference` is what every update started from. `measure` gives an update's quality
    where the campaign measures it. What is as large as an update lies on the `shelf`."""

    def __init__(
        self, spec: CampaignSpec, reference: _Tensors, measure: Measure | None = None, shelf: Shelf = IN_MEMORY
    ) -> None:
        self._spec, self._reference, self._measure, self._shelf = spec, reference, measure, shelf
        self._floor = spec.quality.floor if spec.quality else 0.0
        at_once = spec.averaging == "factors" and (spec.weighting == "equal" or spec.maximum_share == 1)
        self._mean: RunningMean | MeanOfGivers | PrivateMean | None = RunningMean(reference, shelf) if at_once else None
        if spec.experts is not None and spec.experts.own is not None:
            self._mean = MeanOfGivers(reference, shelf)
        if spec.privacy and spec.privacy.guarantee == "central":
            self._mean = PrivateMean(reference, spec.privacy.clip, spec.privacy.noise, os.urandom, shelf)
        self._held: dict[str, _Tensors] = {}
        self._standings: dict[str, Standing] = {}
        self._bad = self._counting = 0

    @property
    def needed(self) -> int:
        """Updates without which there is no result."""
        return max(self._spec.updates_needed(self._bad), self._spec.patience.minimum_updates)

    def turn_away(self) -> None:
        """One more update was bad, and known for it: the rule need not stand up to that one."""
        self._bad += 1

    def __len__(self) -> int:
        return self._counting

    def add(
        self, member: str, update: _Tensors, examples: int, late: int = 0, start: _Tensors | None = None
    ) -> Standing:
        """Take in a member's update; what it is weighed by. One that is so many rounds `late` began at a `start` of its own.

        Raises `Invalid`, unchanged, for one that cannot be counted.
        """
        if self._spec.weighting == "examples" and not examples:
            raise Invalid("An update of no examples counts nothing.", field="examples")
        reference = own_start(self._spec, member, self._reference)
        check_names_and_shapes(update, reference)
        if self._spec.clip_norm is not None:
            update, _ = clipped(update, start or reference, self._spec.clip_norm, self._shelf)
        quality = self._measure({**self._reference, **update}) if self._measure else None
        standing = Standing(examples, quality, late)
        weight = raw_weight(standing, self._spec.weighting, self._floor)
        if not weight:
            self.turn_away()
        elif self._mean is None:
            self._held[member] = update
        else:
            self._mean.add(update, weight)
        self._counting += weight > 0
        self._standings[member] = standing
        return standing

    def result(self) -> Gathered:
        """Raises `Unavailable` where the updates are too few for the spec's rule."""
        if len(self) < self.needed:
            raise Unavailable(f"The round needs {self.needed} valid updates; {len(self)} came.")
        staleness = self._spec.buffer.staleness if self._spec.buffer else 0.0
        even = shares(self._standings, self._spec.weighting, self._spec.maximum_share, self._floor, staleness)
        if self._mean is not None:
            return Gathered(self._mean.result(), even)
        members = sorted(self._held)  # the result does not depend on who came first
        updates = [self._held[member] for member in members]
        match self._spec.averaging:
            case "median":
                return Gathered(coordinate_median(updates, self._shelf), even)
            case "trimmed-mean":
                trim = min(self._spec.bad_updates, (len(updates) - 1) // 2)
                return Gathered(trimmed_mean(updates, trim, self._shelf), even)
            case "krum" | "multi-krum":
                return self._chosen(members, updates, even)
        exact = self._spec.averaging == "products"
        mean: LowRankMean | RunningMean = LowRankMean(1, self._shelf) if exact else RunningMean(shelf=self._shelf)
        for member in members:
            mean.add(self._held[member], even[member].weight)
        return Gathered(mean.result(), even)

    def _chosen(self, members: list[str], updates: list[_Tensors], even: Mapping[str, Share]) -> Gathered:
        """The mean of those that Krum chooses."""
        count = len(updates)
        bad = min(self._spec.bad_updates, (count - 3) // 2)
        keep = 1 if self._spec.averaging == "krum" else count - bad
        chosen = {members[place] for place in krum(updates, bad, keep)}
        mean = RunningMean(shelf=self._shelf)
        for member in sorted(chosen):
            mean.add(self._held[member], 1)
        reason = f"one of {keep} of {count} updates that are nearest to each other"
        found = {member: Share(1 / keep, reason) if member in chosen else Share(0.0, LEFT_OUT) for member in members}
        return Gathered(mean.result(), {**even, **found})
