"""Numbers and times as people read them."""

from __future__ import annotations

import math

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_COUNTS = ("", " k", " M", " G", " T")
_BASES = {"run": "base run", "import": "others"}


def made_by(origin: str, otherwise: str) -> str:
    """What a model version came of, by its origin; a round's is said in the words `otherwise`."""
    return _BASES.get(origin, otherwise)


def size(count: int) -> str:
    """Bytes in decimal units: 18449380 -> '18.4 MB'."""
    value, unit = _scaled(count, len(_UNITS))
    return f"{count} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def amount(count: int) -> str:
    """A count in decimal units: 4612345 -> '4.6 M'."""
    value, unit = _scaled(count, len(_COUNTS))
    return str(count) if unit == 0 else f"{value:.1f}{_COUNTS[unit]}"


def _scaled(count: int, units: int) -> tuple[float, int]:
    value, unit = float(count), 0
    while abs(value) >= 1000 and unit < units - 1:
        value, unit = value / 1000, unit + 1
    return value, unit


def moment(time: str) -> str:
    """RFC 3339 to the second: '2026-11-23T09:15:12.345Z' -> '2026-11-23 09:15:12'; UTC is said once per page."""
    return time[:19].replace("T", " ")


def score(value: float, error: float) -> str:
    """A score with its standard error."""
    return f"{value:.3f} ± {error:.3f}"


def rank(first: int, last: int) -> str:
    """'2', or '2-4' for a model that may have any of them."""
    return str(first) if first == last else f"{first}-{last}"


def optional(value: float) -> float | None:
    """None in place of NaN, which JSON and tables do not know."""
    return None if math.isnan(value) else value


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts 'tiny-1.9' before 'tiny-1.10'."""
    parts: list[tuple[int, int | str]] = []
    for word in name.replace("-", ".").split("."):
        parts.append((0, int(word)) if word.isdecimal() else (1, word))
    return tuple(parts)
