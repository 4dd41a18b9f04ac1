"""Nodes as arrays, and where in them a gang fits: all of one kind, as near to each other as can be, what is left over in one
piece. With 10,000 nodes a search takes some tens of microseconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hub.training.placement.values import LEVELS, Needs, Node, Places

Counts = NDArray[np.int64]
"""Slots by node."""
_UNSAID = 0  # the domain of nodes without a label: anywhere


class Cluster:
    """Never changes: `taking` and `giving` answer with another. Nodes with more accelerators, memory and cores come first."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        ordered = sorted(nodes, key=lambda n: (-len(n.accelerators), -n.memory, -n.cores, n.name))
        self.names = tuple(node.name for node in ordered)
        self.slots: Counts = np.array([node.slots if node.healthy else 0 for node in ordered], np.int64)
        self.free: Counts = np.maximum(self.slots - np.array([n.taken for n in ordered], np.int64), 0)
        self._number = {name: number for number, name in enumerate(self.names)}
        self._nodes = ordered
        self._kind, self._kinds = _codes([(node.pool, *sorted(node.accelerators)) for node in ordered])
        self._domains = [_codes(["", *(node.labels.get(level, "") for node in ordered)])[0][1:] for level in LEVELS]
        self._able: dict[Needs, NDArray[np.bool_]] = {}

    def taking(self, at: Places, needs: Needs) -> Self:
        return self._with(self.free - self._spread(at, needs))

    def giving(self, at: Places, needs: Needs) -> Self:
        return self._with(self.free + self._spread(at, needs))

    def numbers(self, names: Iterable[str]) -> Places:
        """Of the nodes that are here."""
        return np.array([self._number[name] for name in names if name in self._number], np.intp)

    def named(self, at: Places) -> tuple[str, ...]:
        return tuple(self.names[number] for number in at.tolist())

    def kind_of(self, number: int) -> object:
        """The pool and the accelerators of a node."""
        return self._kinds[self._kind[number]]

    def takes(self, at: Places, needs: Needs) -> Counts:
        """Slots that a gang takes on each of its nodes."""
        return self.slots[at] if needs.whole else np.full(len(at), needs.per_node, np.int64)

    def holds(self, room: Counts, needs: Needs) -> bool:
        """Whether a gang fits where so many slots are free."""
        fitting = self._fitting(room, needs)
        return bool(np.bincount(self._kind[fitting], minlength=1).max() >= needs.nodes)

    def most(self, needs: Needs) -> int:
        """How many nodes alike there are for such a gang, were all of them free; those of a pool do not count."""
        able = self._can(needs) & np.array([not node.pool for node in self._nodes], bool)
        return int(np.bincount(self._kind[able], minlength=1).max())

    def fit(self, room: Counts, needs: Needs) -> Places | None:
        """The nodes for a gang where so many slots are free; none where it does not fit."""
        fitting = self._fitting(room, needs)
        if needs.holders and len(held := self.numbers(needs.holders)) == needs.nodes and fitting[held].all():
            return held
        sizes = np.bincount(self._kind[fitting], minlength=1)
        enough = np.flatnonzero(sizes >= needs.nodes)
        if not len(enough):
            return None
        among = np.flatnonzero(fitting & (self._kind == enough[0]))
        if needs.nodes == 1:
            return among[[int((room - self.slots)[among].argmin())]]  # the fullest: whole nodes stay for gangs
        return self._near(room, among, needs.nodes, 0)

    def _near(self, room: Counts, among: Places, count: int, level: int) -> Places:
        """`count` of the nodes from as few domains as can be; within each domain, likewise from as few narrower ones.

        The smallest domain that holds all is taken; where none does, the largest ones whole, then the smallest that holds
        the rest.
        """
        if level == len(LEVELS):
            return among[np.argsort((room - self.slots)[among], kind="stable")][:count]
        domain = self._domains[level][among]
        sizes, chosen = np.bincount(domain), []
        while count:
            enough = np.flatnonzero(sizes >= count)
            said = enough[enough != _UNSAID]
            enough = said if len(said) else enough
            best = enough[sizes[enough].argmin()] if len(enough) else sizes.argmax()
            part = self._near(room, among[domain == best], min(count, int(sizes[best])), level + 1)
            chosen.append(part)
            count -= len(part)
            sizes[best] = 0
        return np.concatenate(chosen)

    def _fitting(self, room: Counts, needs: Needs) -> NDArray[np.bool_]:
        able = self._can(needs)
        fitting: NDArray[np.bool_] = able & ((room >= self.slots) if needs.whole else (room >= needs.per_node))
        return fitting

    def _can(self, needs: Needs) -> NDArray[np.bool_]:
        """The nodes that come into question when all of their slots are free. Remembered, because only `free` changes."""
        key = replace(needs, nodes=1, holders=())
        if key not in self._able:
            kinds = [not needs.accelerator or _is_kind(kind, needs.accelerator) for kind in self._kinds]
            able = np.array(kinds, bool)[self._kind] & (self.slots >= needs.per_node)
            if needs.memory or needs.labels or needs.among is not None:
                able &= np.array([_suits(node, needs) for node in self._nodes], bool)
            self._able[key] = able
        return self._able[key]

    def _spread(self, at: Places, needs: Needs) -> Counts:
        spread = np.zeros_like(self.free)
        spread[at] = self.takes(at, needs)
        return spread

    def _with(self, free: Counts) -> Self:
        other = copy.copy(self)
        other.free = free
        return other


def _codes(values: list[object]) -> tuple[NDArray[np.intp], list[object]]:
    """Numbers for values in the order in which they come first, and the values by number."""
    known: dict[object, int] = {}
    codes = np.array([known.setdefault(value, len(known)) for value in values], np.intp)
    return codes, list(known)


def _is_kind(kinds: object, wanted: str) -> bool:
    return (
        isinstance(kinds, tuple) and len(kinds) > 1 and all(wanted.lower() in str(kind).lower() for kind in kinds[1:])
    )


def _suits(node: Node, needs: Needs) -> bool:
    memory = node.accelerator_memory if node.accelerators else node.memory // needs.per_node
    return (
        memory >= needs.memory
        and all(node.labels.get(key) == value for key, value in needs.labels)
        and (needs.among is None or node.name in needs.among)
    )
