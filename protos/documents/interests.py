"""Whose model it is, to a suite's author: who could have trained on the suite does not rank by it.

The rule: a model is the author's own under a suite when, for it or for one of its ancestors, the author supplied half or more
of the training: of a run's tokens, or of a round's weight. Its score is shown and not ranked. Smaller parts are shown as such.
All of it stands in signed statements, so anyone derives the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protos.documents.models import Contribution, DataUsed

OWN = 0.5


@dataclass(frozen=True)
class Made:
    """A model version, its parent if any, and what it was trained on."""

    model: str
    parent: str
    data: Sequence[DataUsed]
    contributions: Sequence[Contribution]


def parts(made: Made) -> dict[str, float]:
    """Member -> its part in the training of this very version: of a run's tokens, or of a round's weight."""
    amounts = [(part.member, part.weight) for part in made.contributions if not part.excluded]
    amounts = amounts or [(used.member, float(used.tokens)) for used in made.data]
    total = sum(amount for _, amount in amounts)
    found: dict[str, float] = {}
    for member, amount in amounts:
        found[member] = found.get(member, 0.0) + (amount / total if total else 0.0)
    return found


def shares(models: Iterable[Made]) -> dict[str, dict[str, float]]:
    """Model -> member -> the largest part that it had in the model or in one of its ancestors. Ancestors come first."""
    found: dict[str, dict[str, float]] = {}
    for made in models:
        own, before = parts(made), found.get(made.parent, {})
        found[made.model] = {member: max(own.get(member, 0), before.get(member, 0)) for member in own.keys() | before}
    return found


def ranked(share: Mapping[str, float], author: str) -> bool:
    """Whether a model with these shares is ranked by a suite of `author`."""
    return share.get(author, 0.0) < OWN
