"""Each measure counts the rows that its source would leave out, and no others."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.submissions.screening.quality import MEASURES, outside
from hub.submissions.screening.words import Batch

SENTENCES = [
    "The committee of the council met to consider whether it should have the report and the figures printed.",
    "Nobody could be found who had read all of it with care, so a clerk was asked to explain the second chapter.",
    "That took until the evening, and most members left for the last train before he came to the conclusion.",
    "In the morning they agreed to publish nothing and to think about it again when the new year had begun.",
]
GOOD = "\n".join(SENTENCES)


def measures(text: str) -> set[str]:
    return {name for name, rows in outside(Batch([GOOD, text, GOOD])).items() if rows[1]}


def test_good_prose_is_inside_every_measure_and_every_measure_is_documented() -> None:
    found = outside(Batch([GOOD, GOOD]))
    assert found.keys() == MEASURES.keys()
    assert not any(rows.any() for rows in found.values())


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        ("gopher-word-count", "The cat and the dog of that house."),
        ("gopher-word-length", "a b c d e f g h i " * 20),
        ("gopher-word-length", "incomprehensibilities " * 60),
        ("gopher-symbols", "#tag and #tag of #tag the #tag " * 20),
        ("gopher-symbols", "well... the... and... " * 20),
        ("gopher-bullets", "\n".join(f"- {sentence}" for sentence in SENTENCES)),
        ("gopher-ellipses", "\n".join(f"{sentence[:-1]}..." for sentence in SENTENCES)),
        ("gopher-ellipses", "\n".join(f"{sentence[:-1]}…" for sentence in SENTENCES)),
        ("gopher-letters", "the 1 2 3 and 4 5 6 " * 20),
        ("gopher-stop-words", "colourless green ideas sleep furiously " * 12),
        ("gopher-repeated-lines", GOOD + "\n" + "\n".join(SENTENCES[:2])),
        ("gopher-repeated-line-characters", GOOD + "\n" + "\n".join(SENTENCES[:2])),
        ("fineweb-repeated-line-characters", GOOD + "\n" + SENTENCES[0]),
        ("gopher-top-2-gram", "big dog " * 40),
        ("gopher-top-3-gram", "big dog runs " * 40),
        ("gopher-top-4-gram", "big dog runs home " * 40),
        ("gopher-repeated-5-grams", GOOD + " " + SENTENCES[1] + " and"),
        ("gopher-repeated-10-grams", GOOD + " " + SENTENCES[1] + " and"),
        ("fineweb-line-ends", "\n".join(sentence[:-1] for sentence in SENTENCES)),
        ("fineweb-short-lines", "\n".join(GOOD[i : i + 25] for i in range(0, len(GOOD), 25))),
        ("c4-lorem-ipsum", GOOD + " Lorem ipsum dolor."),
    ],
)
def test_a_row_outside_is_counted(measure: str, text: str) -> None:
    assert measure in measures(text)


def test_english_words_are_asked_of_english_alone() -> None:
    german = Batch(["Der Ausschuss tagte bis in den Abend und vertagte dann die Entscheidung auf Montag. " * 5])
    assert outside(german)["gopher-stop-words"].any()
    assert not outside(german, english=False)["gopher-stop-words"].any()


def repeated(words: list[str]) -> set[str]:
    """The measures of repetition, by their definition: every run of n words is counted."""
    found, characters = set(), max(len(" ".join(words)), 1)
    for n, share in ((2, 0.2), (3, 0.18), (4, 0.16), (5, 0.15), (10, 0.1)):
        runs = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        if n < 5:
            if max((len(run) * count for run, count in runs.items() if count > 1), default=0) / characters > share:
                found.add(f"gopher-top-{n}-gram")
        elif sum(count - 1 for count in runs.values()) / max(len(words) - n + 1, 1) > share:
            found.add(f"gopher-repeated-{n}-grams")
    return found


@given(st.lists(st.lists(st.sampled_from(["big", "dog", "runs", "home", "x", "yesterday"]), max_size=60), max_size=12))
def test_repetition_is_what_counting_every_run_of_words_finds(rows: list[list[str]]) -> None:
    found = outside(Batch([" ".join(row) for row in rows]))
    for number, row in enumerate(rows):
        assert {name for name in found if "-gram" in name and found[name][number]} == repeated(row)
