"""What a scrub says: step by step how far it is and what is damaged, and at the end a report."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Kind = Literal["blob", "bundle", "tile", "head", "database"]


@dataclass(frozen=True)
class Damage:
    """`name` is a blob's digest, a file's path in `ledger/`, or a table of the database; `belongs` is who names a blob.

    `sealed` tells of a blob that nothing but sealed suites name.
    """

    kind: Kind
    name: str
    what: str
    belongs: tuple[str, ...] = ()
    sealed: bool = False

    def sentence(self) -> str:
        owners = f" ({'; '.join(self.belongs)})" if self.belongs else ""
        return f"The {self.kind} {self.name} {self.what}{owners}."


@dataclass(frozen=True)
class Step:
    """A piece of the walk. `after` is where a later walk of this stage goes on; `size` counts the bytes that were read."""

    after: str
    size: int
    damage: tuple[Damage, ...] = ()


Walk = Generator[Step, None, None]


@dataclass
class Report:
    """All that was found, each thing once."""

    found: dict[tuple[str, ...], Damage] = field(default_factory=dict)
    size: int = 0

    def add(self, step: Step) -> None:
        self.size += step.size
        for damage in step.damage:
            key = (damage.kind, damage.name, "" if damage.kind == "blob" else damage.what)
            known = self.found.get(key)
            if known:
                belongs = dict.fromkeys((*known.belongs, *damage.belongs))
                damage = replace(known, belongs=tuple(belongs), sealed=known.sealed and damage.sealed)
            self.found[key] = damage

    def damage(self, kind: Kind | None = None) -> list[Damage]:
        return [damage for damage in self.found.values() if kind in (None, damage.kind)]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {"bytes": self.size, "damage": [asdict(damage) for damage in self.found.values()]}
