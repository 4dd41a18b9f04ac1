"""Overlap with a suite is seen however it is dressed, and told without saying what the suite holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.submissions.screening.contamination import ENOUGH, Grams, Overlap, grams_of
from hub.submissions.screening.words import Batch
from trust.errors import Corrupt

ITEM = "a tenant who sublets without the consent of the landlord may lose the lease at once under section nine"
WORDS = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40)


def overlap(items: list[list[str]], rows: list[str]) -> Overlap:
    found, batch = Overlap(grams_of(items)), Batch(rows)
    found.remember(found.look(batch), 0)
    return found


def test_a_run_of_thirteen_words_is_seen_through_case_punctuation_and_accents() -> None:
    dressed = ITEM.upper().replace(" ", ",\u00a0").replace("A", "Á")
    found = overlap([[ITEM]], ["something else", f"He said: {dressed}!", ITEM[: len(ITEM) // 2]])
    assert (found.rows, found.first, found.items_found()) == (1, [1], 1)


def test_short_items_count_whole_and_shorter_ones_not_at_all() -> None:
    eight, seven = "one two three four five six seven eight", "one two three four five six seven"
    assert overlap([[eight]], [f"zero {eight} nine"]).items_found() == 1
    assert overlap([[eight]], [seven]).rows == 0
    assert overlap([[seven]], [f"zero {seven} nine"]).rows == 0


def test_a_phrase_of_many_items_says_nothing() -> None:
    common = " ".join(f"which{n}" for n in range(14))
    items = [[f"{common} item{n}"] for n in range(11)]
    assert overlap(items, [common]).rows == 0
    assert overlap(items[:10], [common]).rows == 1


@settings(max_examples=80)
@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=4))
def test_rows_are_those_that_share_a_run(items: list[list[str]], rows: list[list[str]]) -> None:
    runs = set()
    for item in items:
        n = min(13, len(item))
        runs |= {tuple(item[i : i + n]) for i in range(len(item) - n + 1)} if n >= 8 else set()
    expected = [any(tuple(row[i : i + len(run)]) == run for run in runs for i in range(len(row))) for row in rows]
    found = Overlap(grams_of([[" ".join(item)] for item in items]))
    assert found.look(Batch([" ".join(row) for row in rows]))[1].tolist() == [
        i for i, hit in enumerate(expected) if hit
    ]


def test_hashes_are_kept_and_no_text(tmp_path: Path) -> None:
    path = tmp_path / "suite.npz"
    grams_of([[ITEM]]).save(path)
    assert b"tenant" not in path.read_bytes()
    again = Overlap(Grams.load(path))
    assert len(again.look(Batch([ITEM]))[1]) == 1


def test_of_a_sealed_suite_not_even_hashes_are_kept_without_its_key(tmp_path: Path) -> None:
    """Who has the hashes can try guesses at the text."""
    path, grams = tmp_path / "suite.sealed", grams_of([[ITEM]])
    grams.save(path, bytes(32))
    assert not any(each.tobytes() in path.read_bytes() for each in grams.hashes)
    assert len(Overlap(Grams.load(path, bytes(32))).look(Batch([ITEM]))[1]) == 1
    for key in (b"", b"x" * 32):
        with pytest.raises((Corrupt, ValueError)):
            Grams.load(path, key)


def test_what_is_told_is_coarse_and_holds_no_word_of_the_suite() -> None:
    items = [[" ".join(f"i{n}w{k}" for k in range(20))] for n in range(100)]
    told = set()
    for leaked in (21, 37, 60, 99):
        finding = overlap(items, [item[0] for item in items[:leaked]] + ["clean"] * (200 - leaked)).finding(
            "board/exam 1", 200, "warning", readable=True
        )
        assert finding is not None
        assert finding.count == 0
        assert "w1" not in finding.message
        told.add(finding.message.partition("; ")[0])
    assert len(told) == 1


def test_of_a_suite_that_one_may_not_read_only_whole_items_are_told_and_never_where() -> None:
    """Otherwise a dataset of guesses, each a run with another last word, would spell an item out."""
    items = [[" ".join(f"i{n}w{k}" for k in range(40))] for n in range(3)]
    words = items[0][0].split()
    guesses = [" ".join([*words[:12], guess]) for guess in ("wrong", words[12], "other")]
    looked = overlap(items, guesses)
    assert looked.finding("board/exam 1", 3, "warning", readable=False) is None
    assert looked.finding("board/exam 1", 3, "warning", readable=True) is not None
    told = overlap(items, [*(item[0] for item in items), "clean"]).finding("board/exam 1", 4, "warning", readable=False)
    assert told is not None
    assert told.examples == ()
    assert "rows" not in told.message


def test_of_a_suite_that_one_may_not_read_nothing_is_told_of_a_few_items() -> None:
    """An item of eight words is one run: an answer for each would tell which of many guesses is right."""
    items = [[f"what is the right dose of drug{n} for children"] for n in range(ENOUGH + 3)] + [["too short"]]
    rows = [item[0] for item in items]

    def told(count: int, items: list[list[str]]) -> bool:
        return overlap(items, rows[:count]).finding("board/exam 1", 9, "warning", readable=False) is not None

    assert [told(count, items) for count in range(ENOUGH + 2)] == [False] * ENOUGH + [True] * 2
    few = [*items[:2], ["too short"]]
    assert [told(count, few) for count in range(3)] == [False, False, True], "of a suite with fewer, all of them"


def test_items_that_are_too_short_are_counted() -> None:
    assert overlap([["two words"], [" ".join(f"w{k}" for k in range(20))]], ["clean"]).grams.too_short() == 1
