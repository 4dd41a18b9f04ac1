"""What placement is decided from, and what is decided: plain values, without clock or network.

A *slot* is an accelerator, or a core where a node has none; every rank takes one. Times are seconds on any one clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

LEVELS = ("ib", "rack", "nvlink")
"""The labels that say which nodes are near each other, the widest first."""

Places: TypeAlias = NDArray[np.intp]
"""Nodes of a cluster by number, in the order of the ranks that they are given."""


@dataclass(frozen=True)
class Node:
    """A machine that offers itself: the kinds of its accelerators, bytes of memory; `taken` slots are not to be had.

    Nodes of a `pool` work with none but each other.
    """

    name: str
    accelerators: tuple[str, ...] = ()
    memory: int = 0
    cores: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    accelerator_memory: int = 0
    healthy: bool = True
    taken: int = 0
    pool: str = ""

    @property
    def slots(self) -> int:
        return len(self.accelerators) or max(1, self.cores)


@dataclass(frozen=True)
class Needs:
    """What a gang must have: `nodes` with the same accelerators, `per_node` slots on each, or the whole of each.

    `accelerator` is part of a kind's name ("" for any, and for none). `memory` is bytes for each rank: of its accelerator,
    or of the machine. `among` are the only nodes that come into question. `holders`, who keep a checkpoint's shards by
    rank, are taken in this order when they are free.
    """

    nodes: int
    per_node: int = 1
    whole: bool = False
    accelerator: str = ""
    memory: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    among: frozenset[str] | None = None
    holders: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        return self.nodes * self.per_node


@dataclass(frozen=True)
class Job:
    """A gang that waits or runs. `submitted` is when it began to wait; one that yielded begins anew, having had its turn.
    `expected` is how long it will run, infinite where nobody knows.
    """

    name: str
    needs: Needs
    project: str = ""
    priority: int = 0
    submitted: float = 0.0
    expected: float = math.inf


@dataclass(frozen=True, eq=False)
class Running:
    """A job at work. `ends` is when it is expected to; `saves` when it has its next checkpoint and could stop without loss;
    `yielding` says that it was asked to stop there.
    """

    job: Job
    at: Places
    since: float = 0.0
    ends: float = math.inf
    saves: float = math.inf
    yielding: bool = False


@dataclass(frozen=True)
class Start:
    """All ranks of a job begin, on these nodes in the order of their ranks."""

    job: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Yield:
    """A running job stops at its next checkpoint, so that another can start."""

    job: str
    so_that: str


@dataclass(frozen=True)
class Reservation:
    """These nodes are the job's from a moment on, infinite where nobody knows when they will be free."""

    job: str
    at: float
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """`stuck` are the jobs that no set of these nodes could hold, were all of them free."""

    starts: tuple[Start, ...] = ()
    yields: tuple[Yield, ...] = ()
    reserved: Reservation | None = None
    stuck: tuple[str, ...] = ()
