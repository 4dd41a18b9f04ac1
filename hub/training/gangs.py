"""Between runs and nodes as the hub knows them and the values of `placement`. What a node says of itself is bounded here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hub.training.placement.cluster import Cluster
from hub.training.placement.values import Needs, Node
from protos.coalition.v1 import training_pb2
from protos.documents.placing import JURISDICTION, Place, Terms, may_use
from protos.documents.runs import Placement, RunSpec
from trust.errors import Invalid

MOST_ACCELERATORS, MOST_CORES, MOST_LABELS, LONGEST = 1024, 65_536, 64, 255
MOST_MACHINES = 4096
_MACHINE = "#"  # stands in no agent's name
UNKNOWN = 600.0  # seconds to a checkpoint of which nothing is known yet


def nodes(name: str, inventory: training_pb2.Inventory, *, busy: bool) -> list[Node]:
    """An agent that is attached: one node, or a cluster's machines as a pool. A run takes the whole of it."""
    one = _node(name, inventory, busy=busy)
    if inventory.machines <= 0:
        return [one]
    count = min(inventory.machines, MOST_MACHINES)
    return [replace(one, name=f"{name}{_MACHINE}{number}", pool=name) for number in range(count)]


def agents(names: Iterable[str]) -> tuple[str, ...]:
    """Those of which nodes are, in order."""
    return tuple(dict.fromkeys(name.partition(_MACHINE)[0] for name in names))


def _node(name: str, inventory: training_pb2.Inventory, *, busy: bool) -> Node:
    accelerators = inventory.accelerators[:MOST_ACCELERATORS]
    kinds = tuple(sorted(accelerator.kind[:LONGEST] for accelerator in accelerators))
    free = Node(
        name,
        kinds,
        max(0, inventory.memory),
        min(max(0, inventory.cores), MOST_CORES),
        dict(sorted(inventory.labels.items())[:MOST_LABELS]),
        max(0, min((accelerator.memory for accelerator in accelerators), default=0)),
        healthy=not inventory.health,
    )
    return replace(free, taken=free.slots) if busy else free


def needs(placement: Placement, count: int, among: frozenset[str] | None, holders: tuple[str, ...] = ()) -> Needs:
    """Of a gang of `count` nodes."""
    return Needs(
        count,
        placement.ranks_per_node,
        whole=True,
        accelerator=placement.accelerator,
        memory=placement.memory,
        labels=tuple(sorted(placement.labels.items())),
        among=among,
        holders=holders,
    )


def fewer(spec: RunSpec, there: int) -> tuple[int, str]:
    """The most of the nodes that are there with which a run can go on; where there are none it waits for all that it asks for.
    And why, where its batches are the reason."""
    asked, why = spec.placement.nodes, ""
    for count in range(min(there, asked), (spec.placement.fewest or (asked + 1) // 2) - 1, -1):
        try:
            spec.on(count)
        except Invalid as problem:
            why = why or problem.what
        else:
            return count, ""
    return asked, why


def lacking(cluster: Cluster, needs: Needs) -> str:
    """What keeps a gang from ever fitting here, were all of it free: all that it asks up to what fewer nodes have than it needs.
    Empty where it could."""
    if cluster.holds(cluster.slots, needs):
        return ""
    asked, words = Needs(needs.nodes, whole=needs.whole), list[str]()
    wishes: list[tuple[str, Any, str]] = [
        ("accelerator", needs.accelerator, f"accelerators of the kind {needs.accelerator}"),
        ("per_node", needs.per_node, f"room for {needs.per_node} {'rank' if needs.per_node == 1 else 'ranks'}"),
        ("memory", needs.memory, f"{needs.memory:,} bytes for each rank"),
        ("labels", needs.labels, f"the label {', '.join(f'{key}={value}' for key, value in needs.labels)}"),
        ("among", needs.among, "its checkpoint"),
    ]
    for name, value, said in wishes:
        if not cluster.holds(cluster.slots, asked):
            break
        if value != getattr(asked, name):
            words.append(said)
        asked = replace(asked, **{name: value})
    having = f" with {_and(words)}" if words else ""
    if needs.nodes == 1:
        return f"it needs 1 node{having}, and none is attached and well"
    return f"it needs {needs.nodes} nodes that are alike{having}, and fewer are attached and well"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def admitted(nodes: Iterable[Node], data: Sequence[Terms]) -> tuple[frozenset[str], str]:
    """The nodes where all of the data may be, and why another is left out (empty where none is)."""
    fitting: list[str] = []
    refusals: dict[str, str] = {}  # by country: nodes differ in nothing else
    for each in nodes:
        country = each.labels.get(JURISDICTION, "")
        if country not in refusals:
            place = Place("node", agents([each.name])[0], country)
            refusals[country] = next((refusal for terms in data if (refusal := may_use(terms, place))), "")
        if not refusals[country]:
            fitting.append(each.name)
    return frozenset(fitting), next(filter(None, refusals.values()), "")


@dataclass(frozen=True)
class Pace:
    """How fast an attempt goes, from its first and its last sign of progress: steps, and when they were done."""

    first: tuple[int, float]
    last: tuple[int, float]

    def after(self, step: int) -> float:
        """When a later step will be done; infinite where nothing can be said."""
        steps, seconds = self.last[0] - self.first[0], self.last[1] - self.first[1]
        return self.last[1] + (step - self.last[0]) * seconds / steps if steps > 0 else math.inf


def progressed(pace: Pace | None, step: int, now: float) -> Pace:
    if pace is None or step < pace.last[0]:
        return Pace((step, now), (step, now))
    return Pace(pace.first, (step, now))


def expectations(pace: Pace | None, every: int, steps: int, now: float) -> tuple[float, float]:
    """When a training run ends and when it has its next checkpoint, as far as its pace tells."""
    if pace is None:
        return math.inf, now + UNKNOWN
    upcoming = (pace.last[0] // every + 1) * every
    saves = pace.after(upcoming)
    return pace.after(steps), saves if upcoming < steps and saves < math.inf else now + UNKNOWN
