"""What the ledger says of a failure: a printable line, and nothing of a suite that is not for everyone to read."""

from __future__ import annotations

import pytest

from hub.evaluation.reasons import CUT_SHORT, KILLED, MEMORY, OUTPUT, TIME, UNLOADABLE, hopeless, told


def test_of_a_suite_that_everyone_reads_the_reason_is_told_on_one_printable_line() -> None:
    assert told("KeyError: 'a\x1b[31mred\u2028\u202e'\n", "members") == "KeyError: 'a [31mred  ' "
    assert len(told("x" * 2000, "members")) == 500


@pytest.mark.parametrize("visibility", ["hub", "sealed"])
@pytest.mark.parametrize(
    "failure",
    [
        "the answer is 42",
        "ValueError: the answer is 42",
        "The answer",
        f"x {TIME}",
        "resource: the answer is 42",
        ": 42",
    ],
)
def test_of_any_other_a_sandbox_can_say_nothing_of_its_own(failure: str, visibility: str) -> None:
    assert told(failure, visibility) == told("whatever else", visibility)
    assert "answer" not in told(failure, visibility)


@pytest.mark.parametrize("words", [TIME, MEMORY, OUTPUT, KILLED, UNLOADABLE, CUT_SHORT])
def test_its_kind_is_told_and_what_follows_is_not(words: str) -> None:
    assert told(f"{words}: the answer is 42", "sealed") == f"{words}."


def test_without_a_failure_there_is_nothing_to_tell() -> None:
    assert told("", "sealed") == told("", "members") == ""


def test_a_lack_of_resources_would_come_again() -> None:
    assert all(map(hopeless, (TIME, MEMORY, OUTPUT, KILLED)))
    assert not hopeless(CUT_SHORT)
