"""A preference is a prompt, two answers and perhaps how much better one is; anything else is refused by its place."""

from __future__ import annotations

from typing import Any

import pytest

from protos.formats.preferences import preference_of
from trust.errors import Invalid

ROW: dict[str, Any] = {"prompt": [{"role": "user", "content": "Size?"}], "chosen": "12 µg", "rejected": "Large."}


def test_scores_say_how_much_better_the_chosen_answer_is() -> None:
    assert preference_of(ROW, "row 1").better is None
    assert preference_of(ROW | {"score_chosen": 4, "score_rejected": 1.5}, "row 1").better == 2.5


@pytest.mark.parametrize("score", [10**400, -(10**400), 1e300, float("nan"), float("inf"), True, "4", None])
def test_a_score_that_is_no_number_within_bounds_is_refused(score: object) -> None:
    """Also one that no machine number holds."""
    for name in ("score_chosen", "score_rejected"):
        other = {"score_chosen", "score_rejected"} - {name}
        with pytest.raises(Invalid, match="row 7"):
            preference_of(ROW | {name: score, other.pop(): 0}, "row 7")
