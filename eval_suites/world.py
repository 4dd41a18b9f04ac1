"""Makes the suite in `general-world/` from public-domain text: `python -m eval_suites.world`.

Sources: `iso3166.tab` and `zone.tab` of the IANA time zone database ("This file is in the public domain"), as the system or
pytz carries them, and PEP 20 ("This document has been placed in the public domain"), as Python carries it in `this`.
"""

from __future__ import annotations

import codecs
import json
import random
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "general-world"
CHOICES = 4
PLACES = 200
SUITE = {
    "format": "coalition-suite/v1",
    "name": "general-world",
    "version": "1",
    "domain": "general",
    "licence": "LicenseRef-Public-Domain",
    "description": "Which country a place lies in, which country a code stands for, and the aphorisms of PEP 20.",
    "tasks": [
        {"name": "places", "kind": "multiple_choice", "data": "places.jsonl", "prompt": "{place} is a place in"},
        {
            "name": "codes",
            "kind": "multiple_choice",
            "data": "codes.jsonl",
            "prompt": "The country code {code} stands for",
            "metric": "acc_norm",
        },
        {"name": "aphorisms", "kind": "perplexity", "data": "aphorisms.jsonl"},
    ],
}

Row = dict[str, Any]


def places(countries: Mapping[str, str], zones: Iterable[tuple[str, str]], chance: random.Random) -> list[Row]:
    """(country code, time zone) to questions; the other countries are of the same part of the world."""
    found = [(code, zone.split("/")[0], zone.split("/")[-1].replace("_", " ")) for code, zone in zones]
    rows = []
    for code, region, place in found:
        others = sorted({countries[c] for c, r, _ in found if r == region and c != code})
        if place not in countries[code] and countries[code] not in place and len(others) >= CHOICES - 1:
            rows.append({"place": place, **_choices(countries[code], others, chance)})
    chance.shuffle(rows)
    return rows[:PLACES]


def codes(countries: Mapping[str, str], chance: random.Random) -> list[Row]:
    """Country codes to questions; the other countries begin with the same letter where there are enough."""
    rows = []
    for code, name in sorted(countries.items()):
        others = sorted(other for other in countries.values() if other[0] == name[0] and other != name)
        if len(others) >= CHOICES - 1:
            rows.append({"code": code, **_choices(name, others, chance)})
    return rows


def aphorisms() -> list[Row]:
    """The lines of PEP 20, read from the source of `this` without importing it (it prints)."""
    spec = find_spec("this")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("this Python has no `this`")
    text = Path(spec.origin).read_text("utf-8").split('"""')[1]
    lines = codecs.decode(text, "rot13").splitlines()
    return [{"text": line} for line in lines[2:] if line]


def write(folder: Path) -> None:
    """The suite's files. Deterministic for one version of the sources."""
    chance = random.Random("general-world")  # noqa: S311  (the same items every time)
    countries = dict(_table("iso3166.tab"))
    zones = [(code, zone) for code, _, zone, *_ in _table("zone.tab")]
    folder.mkdir(exist_ok=True)
    (folder / "suite.json").write_text(json.dumps(SUITE, indent=2) + "\n")
    _write(folder / "places.jsonl", places(countries, zones, chance))
    _write(folder / "codes.jsonl", codes(countries, chance))
    _write(folder / "aphorisms.jsonl", aphorisms())


def _choices(answer: str, others: Sequence[str], chance: random.Random) -> Row:
    chosen = chance.sample(others, CHOICES - 1)
    position = chance.randrange(CHOICES)
    return {"choices": [*chosen[:position], answer, *chosen[position:]], "answer": position}


def _table(name: str) -> list[list[str]]:
    spec = find_spec("pytz")
    folders = [*zoneinfo.TZPATH, *(f"{place}/zoneinfo" for place in (spec and spec.submodule_search_locations) or ())]
    for folder in folders:
        if (path := Path(folder) / name).is_file():
            lines = path.read_text("utf-8").splitlines()
            return [line.split("\t") for line in lines if line and not line.startswith("#")]
    raise FileNotFoundError(f"no {name} in {', '.join(folders)}; install the system's tzdata, or pytz")


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    write(FOLDER)
