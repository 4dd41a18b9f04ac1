"""Which nodes form a gang: all of them or none, all of one kind, and where the data may be. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from protos.coalition.v1 import training_pb2
from protos.documents.placing import Place, Terms, may_use

JURISDICTION = "jurisdiction"
"""The label of a node that says in which country (ISO 3166-1) it stands."""


@dataclass(frozen=True)
class Offer:
    """A free node: the kinds of its accelerators in order, memory in bytes; `country` as its label says."""

    name: str
    accelerators: tuple[str, ...] = ()
    memory: int = 0
    cores: int = 0
    country: str = ""

    @classmethod
    def of(cls, name: str, inventory: training_pb2.Inventory) -> Self:
        kinds = tuple(sorted(accelerator.kind for accelerator in inventory.accelerators))
        return cls(name, kinds, inventory.memory, inventory.cores, inventory.labels.get(JURISDICTION, ""))


def admitted(offers: Iterable[Offer], data: Sequence[Terms]) -> tuple[list[Offer], str]:
    """The nodes where all of the data may be, and why another is left out (empty where none is)."""
    fitting: list[Offer] = []
    why = ""
    for offer in offers:
        place = Place("node", offer.name, offer.country)
        refusal = next((refusal for terms in data if (refusal := may_use(terms, place))), "")
        if refusal:
            why = why or refusal
        else:
            fitting.append(offer)
    return fitting, why


def gang(count: int, offers: Iterable[Offer], holders: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names of `count` nodes in the order of their ranks; empty when there is no full gang.

    `holders`, who have a checkpoint's shards by rank, are taken again if all are free. Otherwise the nodes must have the
    same accelerators, since ranks with and without them cannot speak to each other; more accelerators, memory and cores
    come first.
    """
    free = {offer.name: offer for offer in offers}
    if holders and len(holders) == count and all(name in free for name in holders):
        return holders
    alike: dict[tuple[str, ...], list[Offer]] = defaultdict(list)
    for offer in sorted(free.values(), key=lambda o: (-o.memory, -o.cores, o.name)):
        alike[offer.accelerators].append(offer)
    enough = [group for group in alike.values() if len(group) >= count]
    if not enough:
        return ()
    best = max(enough, key=lambda group: (len(group[0].accelerators), group[0].memory, group[0].accelerators))
    return tuple(offer.name for offer in best[:count])
