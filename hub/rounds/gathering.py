"""What becomes of a round's updates: one update, and each member's share in it with its reason.

Plain means are taken as the updates arrive. A cap on shares, exact means of adapters and the rules that compare members need all
of a round's adapters at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from learning.aggregation.low_rank import LowRankMean
from learning.aggregation.means import RunningMean
from learning.aggregation.robust import clipped, coordinate_median, krum, trimmed_mean
from learning.aggregation.weighting import Share, Standing, shares
from learning.updates import check_names_and_shapes
from protos.documents.campaigns import CampaignSpec
from trust.errors import Invalid, Unavailable

LEFT_OUT = "Other members' updates are nearer to each other."
_Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Gathered:
    """`shares` of all whose updates were taken, by member; they sum to 1."""

    update: dict[str, Tensor]
    shares: dict[str, Share]


class Gathering:
    """Of one round, by its campaign's spec; `reference` is what every update started from."""

    def __init__(self, spec: CampaignSpec, reference: _Tensors) -> None:
        self._spec, self._reference = spec, reference
        at_once = spec.averaging == "factors" and (spec.weighting == "equal" or spec.maximum_share == 1)
        self._mean = RunningMean(reference) if at_once else None
        self._held: dict[str, _Tensors] = {}
        self._standings: dict[str, Standing] = {}
        self._bad = 0

    @property
    def needed(self) -> int:
        """Updates without which there is no result."""
        return self._spec.updates_needed(self._bad)

    def turn_away(self) -> None:
        """One more update was bad, and known for it: the rule need not stand up to that one."""
        self._bad += 1

    def __len__(self) -> int:
        return len(self._standings)

    def add(self, member: str, update: _Tensors, examples: int) -> None:
        """Take in a member's update. Raises `Invalid`, unchanged, for one that cannot be counted."""
        weight = float(examples) if self._spec.weighting == "examples" else 1.0
        if not weight:
            raise Invalid("An update of no examples counts nothing.", field="examples")
        check_names_and_shapes(update, self._reference)
        if self._spec.clip_norm is not None:
            update, _ = clipped(update, self._reference, self._spec.clip_norm)
        if self._mean is None:
            self._held[member] = update
        else:
            self._mean.add(update, weight)
        self._standings[member] = Standing(examples)

    def result(self) -> Gathered:
        """Raises `Unavailable` where the updates are too few for the spec's rule."""
        if len(self) < self.needed:
            raise Unavailable(f"The round needs {self.needed} valid updates; {len(self)} came.")
        even = shares(self._standings, self._spec.weighting, self._spec.maximum_share)
        if self._mean is not None:
            return Gathered(self._mean.result(), even)
        members = sorted(self._held)  # the result does not depend on who came first
        updates = [self._held[member] for member in members]
        match self._spec.averaging:
            case "median":
                return Gathered(coordinate_median(updates), even)
            case "trimmed-mean":
                return Gathered(trimmed_mean(updates, min(self._spec.bad_updates, (len(updates) - 1) // 2)), even)
            case "krum" | "multi-krum":
                return self._chosen(members, updates)
        mean: LowRankMean | RunningMean = LowRankMean() if self._spec.averaging == "products" else RunningMean()
        for member in members:
            mean.add(self._held[member], even[member].weight)
        return Gathered(mean.result(), even)

    def _chosen(self, members: list[str], updates: list[_Tensors]) -> Gathered:
        """The mean of those that Krum chooses."""
        count = len(updates)
        bad = min(self._spec.bad_updates, (count - 3) // 2)
        keep = 1 if self._spec.averaging == "krum" else count - bad
        chosen = {members[place] for place in krum(updates, bad, keep)}
        mean = RunningMean()
        for member in sorted(chosen):
            mean.add(self._held[member], 1)
        reason = f"one of {keep} of {count} updates that are nearest to each other"
        return Gathered(
            mean.result(),
            {member: Share(1 / keep, reason) if member in chosen else Share(0.0, LEFT_OUT) for member in members},
        )
