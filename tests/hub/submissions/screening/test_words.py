"""Words and n-grams of a batch are those that Python's own string functions give, whatever the text."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hub.submissions.screening.duplicates import digests
from hub.submissions.screening.words import Batch

LATIN = st.text("abcXYZ 019.,-\n\té", max_size=60)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.replace("é", "e").lower())


@given(st.lists(LATIN, min_size=1, max_size=8))
def test_words_are_runs_of_letters_and_digits(texts: list[str]) -> None:
    batch = Batch(texts)
    assert batch.word_bounds.tolist()[1:] == [len(words(" ".join(texts[: i + 1]))) for i in range(len(texts))]


@given(st.lists(LATIN, min_size=1, max_size=6), st.integers(1, 4))
def test_equal_ngrams_have_equal_hashes_and_others_do_not(texts: list[str], n: int) -> None:
    batch = Batch(texts)
    hashes, places = batch.ngrams(n)
    plain = [
        (row, tuple(words(text)[start : start + n]))
        for row, text in enumerate(texts)
        for start in range(len(words(text)) - n + 1)
    ]
    assert batch.word_rows[places].tolist() == [row for row, _ in plain]
    seen: dict[tuple[str, ...], int] = {}
    for (_, gram), hashed in zip(plain, hashes.tolist(), strict=True):
        assert seen.setdefault(gram, hashed) == hashed
    assert len(set(seen.values())) == len(seen)


@given(st.text(max_size=80))
def test_any_text_can_be_folded(text: str) -> None:
    batch = Batch([text, "end"])
    assert len(batch.words) >= 1
    assert len(digests(batch)) == 2


@given(st.text("aäéöñçÅ z", min_size=1, max_size=40))
def test_composed_and_decomposed_letters_are_the_same(text: str) -> None:
    composed, decomposed = (digests(Batch([unicodedata.normalize(form, text)])) for form in ("NFC", "NFD"))
    assert composed == decomposed


def test_case_width_accents_zero_width_characters_and_space_are_folded() -> None:
    batch = Batch(["The  Café\nopens", "ｔｈｅ ca\u200bfe opens ", "the cafe, opens"])
    one, other, third = digests(batch).tolist()
    assert one == other
    assert third != one
    assert batch.words[:3].tolist() == batch.words[3:6].tolist() == batch.words[6:].tolist()


def test_a_script_without_spaces_has_its_characters_as_words() -> None:
    assert len(Batch(["人人生而自由"]).words) == 6
    assert len(Batch(["모든 인간은"]).words) == 2
