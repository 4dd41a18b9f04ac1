"""SCAFFOLD's common control variate: what members' gradients are like together, as the rounds so far have it.

A site's own one changes by (start - end) / (steps * rate) - common (option II; Karimireddy et al., arXiv:1910.06378), which an
update tells. So nothing more travels from the sites, and the common one follows from the recorded updates and who counted in
them: everybody can compute it again. Where the members change all begin anew, or it would speak for ever of one who is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hub.rounds.plan import read_past, update_file
from learning.adapters import factors_b
from learning.objectives.steadying import next_common, next_control
from learning.shelf import map_tensors
from learning.updates import save_tensors
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import LocalTraining
from protos.documents.models import Contribution
from protos.documents.rounds import CONTROL, Control, Counted


class Steering:
    """Of one campaign's rounds, one after the other."""

    def __init__(self, training: LocalTraining) -> None:
        self._training = training
        self._members: frozenset[str] = frozenset()
        self._common: dict[str, Tensor] = {}
        self._counted: dict[str, str] = {}

    def look_back(self, directory: Path, first_round: int) -> None:
        """Remember the rounds before `first_round`."""
        for number in range(1, first_round):
            update = map_tensors(update_file(directory, number))
            self.take(read_past(directory, number).contributions, update)

    def control(self, members: Iterable[str], reference: Mapping[str, Tensor]) -> tuple[Control, dict[str, Tensor]]:
        """What a round of these members begins with: whose updates counted last, and the common one of each B [out, rank]."""
        self._begin_anew_for(members, reference)
        counted = tuple(Counted(member=member, update=digest) for member, digest in sorted(self._counted.items()))
        return Control(counted=counted), self._common

    def take(self, contributions: Iterable[Contribution], averaged: Mapping[str, Tensor]) -> None:
        """Remember a round that is done: who was asked and who counted, and the plain mean of their updates."""
        parts = list(contributions)
        self._begin_anew_for([part.member for part in parts], averaged)
        counted = {part.member: part.update for part in parts if part.weight and part.update}
        still = _zeros(averaged)
        training, end = self._training, factors_b(averaged)
        change = next_control(still, self._common, still, end, training.steps, training.learning_rate)
        self._common = next_common(self._common, change, len(counted), len(parts))
        self._counted |= counted

    def _begin_anew_for(self, members: Iterable[str], adapter: Mapping[str, Tensor]) -> None:
        found = frozenset(members)
        if found != self._members:
            self._members, self._common, self._counted = found, _zeros(adapter), {}


def steering_of(spec: CampaignSpec, directory: Path, first_round: int) -> Steering | None:
    """Where the strategy asks for it, with the rounds before `first_round` in mind."""
    if spec.strategy != "scaffold":
        return None
    steering = Steering(spec.training)
    steering.look_back(directory, first_round)
    return steering


def led(
    steering: Steering | None,
    contributions: Iterable[Contribution],
    averaged: dict[str, Tensor],
    reference: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """A round's adapter, which is remembered where somebody steers; then what sites say of A, which none of them trains, counts
    for nothing."""
    if steering is None:
        return averaged
    steering.take(contributions, averaged)
    return {**reference, **factors_b(averaged)}


def given(
    steering: Steering | None, members: Iterable[str], reference: Mapping[str, Tensor]
) -> tuple[Control | None, dict[str, bytes]]:
    """What a round's task holds, and the file that travels with the model's; nothing where nobody steers."""
    if steering is None:
        return None, {}
    control, common = steering.control(members, reference)
    return control, {CONTROL: save_tensors(common)}


def _zeros(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in factors_b(adapter).items()}
