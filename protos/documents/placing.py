"""Which place may use which dataset: one pure rule for the hub, its scheduler, and the sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protos.documents.jurisdictions import covers

Category = Literal["open", "unique-open", "controlled", "private", "sovereign"]
"""`open`: for everybody, and found elsewhere too. `unique-open`: for everybody, and found nowhere else. `controlled`: for
its owner, the hub and the nodes of base runs. `private`: stays at its owner's site. `sovereign`: as private, and what is
learned from it may only go to a hub in its jurisdiction."""

AT_HOME: frozenset[Category] = frozenset({"private", "sovereign"})
"""Data of these categories never leaves its site: the hub gets the manifest alone."""

FOR_MEMBERS: frozenset[Category] = frozenset({"open", "unique-open"})
"""Data of these categories every member may read."""

JURISDICTION = "jurisdiction"
"""The label of a node that says in which country (ISO 3166-1) it stands."""

PlaceKind: TypeAlias = Literal["hub", "node", "site"]


@dataclass(frozen=True)
class Terms:
    """What a dataset's manifest says about its use."""

    id: str
    category: Category
    jurisdiction: tuple[str, ...]
    owner: str


@dataclass(frozen=True)
class Place:
    """The hub, a node of base runs, or the site of the member `owner`; `country` is empty where it is not stated."""

    kind: PlaceKind
    name: str
    country: str = ""
    owner: str = ""

    def __str__(self) -> str:
        return f"the {self.kind} {self.name} ({f'in {self.country}' if self.country else 'which states no country'})"


def may_use(terms: Terms, place: Place) -> str | None:
    """Why the text of a dataset may not be at a place; None where it may. Its jurisdiction binds, whatever its category."""
    if terms.category in AT_HOME and place.kind != "site":
        return f"{terms.id} is {terms.category}: it stays at {terms.owner}'s site"
    if place.kind == "site" and place.owner != terms.owner and terms.category not in FOR_MEMBERS:
        return f"{terms.id} is {terms.category} and belongs to {terms.owner}, not to {place.owner}"
    if not covers(terms.jurisdiction, place.country):
        return f"{terms.id} is {terms.category} and may be in {', '.join(terms.jurisdiction)} alone, not at {place}"
    return None


def may_learn(terms: Terms, hub: Place) -> str | None:
    """Why what a site learned from a dataset may not go to a hub; None where it may."""
    if terms.category == "sovereign" and not covers(terms.jurisdiction, hub.country):
        return f"{terms.id} is sovereign: updates from it may go to {', '.join(terms.jurisdiction)} alone, not to {hub}"
    return None
