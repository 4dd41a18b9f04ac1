"""Which place may use which dataset: the whole rule as a table."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from protos.documents.jurisdictions import COUNTRIES, REGIONS, WORLD, Country, Jurisdictions, covers
from protos.documents.placing import AT_HOME, Category, Place, Terms, may_learn, may_use

HUB = Place("hub", "hub", "NL")
NODE = Place("node", "node-1", "NL")
OWN = Place("site", "law", "NL", "law")
OTHER = Place("site", "med", "NL", "med")
ABROAD = (Place("hub", "hub", "US"), Place("node", "node-1", "US"), Place("node", "node-1"))


def terms(category: Category, *jurisdiction: str) -> Terms:
    return Terms("data-1", category, jurisdiction or ("NL",), "law")


@pytest.mark.parametrize(
    ("category", "hub", "node", "own_site", "other_site", "abroad"),
    [
        ("open", True, True, True, True, False),
        ("unique-open", True, True, True, True, False),
        ("controlled", True, True, True, False, False),
        ("private", False, False, True, False, False),
        ("sovereign", False, False, True, False, False),
    ],
)
def test_who_may_use_what(
    category: Category, hub: bool, node: bool, own_site: bool, other_site: bool, abroad: bool
) -> None:
    found = [may_use(terms(category), place) is None for place in (HUB, NODE, OWN, OTHER)]
    assert found == [hub, node, own_site, other_site]
    assert {may_use(terms(category), place) is None for place in ABROAD} == {abroad}


def test_a_refusal_names_dataset_rule_and_place() -> None:
    assert may_use(terms("controlled"), Place("node", "gpu-1", "US")) == (
        "data-1 is controlled and may be in NL alone, not at the node gpu-1 (in US)"
    )
    assert may_use(terms("private"), HUB) == "data-1 is private: it stays at law's site"
    assert "belongs to law, not to med" in str(may_use(terms("sovereign"), OTHER))


@pytest.mark.parametrize("category", ["open", "unique-open", "controlled"])
def test_data_that_names_no_jurisdiction_may_be_on_every_node(category: Category) -> None:
    assert all(may_use(terms(category, WORLD), place) is None for place in (HUB, NODE, *ABROAD))


def test_even_its_owner_may_not_take_data_out_of_its_jurisdiction() -> None:
    assert may_use(terms("private"), Place("site", "law", "US", "law")) is not None


@pytest.mark.parametrize(
    ("jurisdictions", "inside", "outside"),
    [
        (("NL",), ("NL",), ("DE", "")),
        (("EU",), ("NL", "DE"), ("NO", "GB", "")),
        (("EEA", "CH"), ("NO", "CH", "FR"), ("US", "")),
        ((WORLD,), ("NL", "US", ""), ()),
    ],
)
def test_where_a_jurisdiction_reaches(
    jurisdictions: tuple[str, ...], inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    assert all(covers(jurisdictions, country) for country in inside)
    assert not any(covers(jurisdictions, country) for country in outside)


def test_what_is_learned_from_sovereign_data_stays_in_its_jurisdiction() -> None:
    assert may_learn(terms("sovereign"), HUB) is None
    assert "updates from it may go to NL alone" in str(may_learn(terms("sovereign"), Place("hub", "hub", "US")))
    assert may_learn(terms("private"), Place("hub", "hub", "US")) is None


@given(st.sampled_from(get_args(Category)), st.sampled_from(["hub", "node", "site"]), st.sampled_from(["", "NL", "US"]))
def test_private_data_is_at_its_owners_site_or_nowhere(category: Category, kind: str, country: str) -> None:
    place = Place(kind, "x", country, "med")  # type: ignore[arg-type]
    if category in AT_HOME:
        assert may_use(terms(category, WORLD) if category == "private" else terms(category), place) is not None


def test_jurisdictions_are_a_closed_list() -> None:
    assert len(COUNTRIES) == 249
    assert all(region <= COUNTRIES for region in REGIONS.values())
    several = TypeAdapter(Jurisdictions)
    assert several.validate_python(["NL", "EEA"]) == ("NL", "EEA")
    for wrong in ([], ["nl"], ["UK"], ["NL", "NL"], ["world", "NL"], ["Netherlands"]):
        with pytest.raises(ValidationError):
            several.validate_python(wrong)
    with pytest.raises(ValidationError, match="ISO 3166-1"):
        TypeAdapter(Country).validate_python("EU")
