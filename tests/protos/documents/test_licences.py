"""Licences: SPDX expressions alone, and a coalition's choice among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.documents.licences import LicencePolicy, check_licence
from trust.errors import Invalid

BY_DEFAULT = LicencePolicy()


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "CC-BY-4.0",
            "CC0-1.0",
            "CC-BY-SA-4.0",
            "MIT OR (Apache-2.0 AND CC0-1.0)",
            "ODC-By-1.0",
            "CDLA-Permissive-2.0",
        ),
        *("GPL-2.0-only WITH Classpath-exception-2.0", "MIT OR CC-BY-NC-4.0", "cc-by-4.0"),
    ],
)
def test_what_the_default_policy_takes(expression: str) -> None:
    check_licence(expression)
    assert BY_DEFAULT.refusal(expression) == ""


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("CC-BY-NC-4.0", "does not take the licence CC-BY-NC-4.0"),
        ("CC-BY-ND-4.0", "does not take"),
        ("CC-BY-NC-SA-3.0", "does not take"),
        ("cc-by-nc-4.0", "does not take the licence CC-BY-NC-4.0"),
        ("MIT AND CC-BY-NC-4.0", "does not take the licence CC-BY-NC-4.0"),
        ("CC-BY-NC-4.0 OR CC-BY-ND-4.0", "does not take"),
        ("PolyForm-Noncommercial-1.0.0", "does not take"),
        ("LicenseRef-Ours", "LicenseRef-Ours stands in no list"),
    ],
)
def test_what_it_refuses(expression: str, why: str) -> None:
    check_licence(expression)
    assert why in BY_DEFAULT.refusal(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "do what you want",
        "MIT AND",
        "MIT WITH MIT",
        "Classpath-exception-2.0",
        "(MIT",
        "MIT)",
        "Proprietary",
        "MIT/BSD",
    ],
)
def test_what_is_no_spdx_expression(expression: str) -> None:
    with pytest.raises(Invalid, match="not an SPDX licence expression"):
        check_licence(expression)
    assert BY_DEFAULT.refusal(expression)


def test_a_name_in_full_decides_before_a_pattern() -> None:
    policy = LicencePolicy(
        allowed=("CC-*", "LicenseRef-Ours", "CC-BY-NC-4.0"), denied=("*-NC*", "LicenseRef-*", "CC0-1.0")
    )
    taken = ["CC-BY-4.0", "CC-BY-NC-4.0", "LicenseRef-Ours", "LicenseRef-Other", "CC0-1.0", "MIT", "CC-BY-NC-SA-4.0"]
    assert [not policy.refusal(name) for name in taken] == [True, True, True, False, False, False, False]


@given(st.text(alphabet="ABCMITCC-BY40. ()ANDORWITH", max_size=60))
def test_any_text_is_taken_or_refused_in_a_sentence(expression: str) -> None:
    refusal = BY_DEFAULT.refusal(expression)
    try:
        check_licence(expression)
    except Invalid:
        assert refusal.endswith(".")
