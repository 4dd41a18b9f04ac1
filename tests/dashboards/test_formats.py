import math

import pytest

from dashboards.rows import formats


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (18_449_380, "18.4 MB"), (10**19, "10000.0 PB")]
)
def test_sizes_in_decimal_units(count: int, text: str) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(("count", "text"), [(7, "7"), (4_612_345, "4.6 M"), (10**18, "1000000.0 T")])
def test_amounts(count: int, text: str) -> None:
    assert formats.amount(count) == text


def test_moment_is_to_the_second() -> None:
    assert formats.moment("2026-11-23T09:15:12.345Z") == "2026-11-23 09:15:12"
    assert formats.moment("") == ""


def test_not_a_number_is_absent() -> None:
    assert formats.optional(math.nan) is None
    assert formats.optional(0.0) == 0.0


def test_natural_order_counts() -> None:
    names = ["tiny-10", "tiny-2.10", "tiny-2.9", "tiny-2", "small-1"]
    assert sorted(names, key=formats.natural) == ["small-1", "tiny-2", "tiny-2.9", "tiny-2.10", "tiny-10"]
