"""Whose suite is evaluated next: authors take turns, so that one member's slow suites do not hold up the others'.

Round robin over the authors that wait (as `hub.turns`); within an author's turn a model that lies ready comes first, as laying
another one out copies all of its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from hub.models.registry import ModelRow
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry

Suite: TypeAlias = Accepted[FileEntry]
Pair: TypeAlias = "tuple[ModelRow, Suite]"


class Turns:
    """Remembers who had its turn when, for as long as the hub runs."""

    def __init__(self) -> None:
        self._turn = 0
        self._last: dict[str, int] = {}

    def take(self, waiting: Sequence[Pair], ready: str) -> Pair:
        """One of the pairs that wait, the oldest first; its author's turn is over then. `ready` is a model."""

        def rank(place: int) -> tuple[int, bool, int]:
            model, suite = waiting[place]
            return self._last.get(suite.member, 0), model.id != ready, place

        pair = waiting[min(range(len(waiting)), key=rank)]
        self._turn += 1
        self._last[pair[1].member] = self._turn
        return pair
