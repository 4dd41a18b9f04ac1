"""A member's suite from its held-out documents: choose the right title or continuation among siblings, and read on."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from contributors.demo.passages import Passage, paragraphs

ITEMS = 120
CHOICES = 4
READING_BYTES = 40_000
READING_TEXT = 2_000  # characters of one text at most, so that no single document dominates
_SENTENCE = re.compile(r"(?<=[.;:])\s+")

Row = dict[str, Any]
Make = Callable[[Sequence[Passage], random.Random], Iterator[Row]]


def titles(documents: Sequence[Passage], chance: random.Random) -> Iterator[Row]:
    """Which title fits this text? Distractors are titles of the same group where there are enough."""
    groups: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        groups[document.group].append(document.title)
    everything = sorted({document.title for document in documents})
    for document in documents:
        body = _mask(document.body[:300], document.title)
        others = sorted(set(groups[document.group]) - {document.title})
        fill = [title for title in everything if title not in others and title != document.title]
        if len(body) >= 60:
            yield _row(body, document.title, _choose(others, fill, chance), chance)


def continuations(documents: Sequence[Passage], chance: random.Random) -> Iterator[Row]:
    """Which continuation is the real one? Distractors are the ends of other documents' paragraphs."""
    halves = [half for document in documents for half in _halves(document)]
    for document, start, end in halves:
        siblings = [e for d, _, e in halves if d.group == document.group and d != document]
        others = [e for d, _, e in halves if d.group != document.group]
        yield _row(start, end, _choose(sorted(set(siblings) - {end}), sorted(set(others) - {end}), chance), chance)


def write_suite(
    folder: Path,
    name: str,
    domain: str,
    licence: str,
    description: str,
    tasks: Iterable[tuple[str, str, Make]],
    sources: dict[str, Sequence[Passage]],
    reading: Sequence[Passage],
    share: float = 1,
) -> None:
    """`tasks` are (task name, prompt, maker); `sources` gives each task its documents. Deterministic.

    A `share` of the items, and of the text to read, is for models that take long to read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, Any]] = []
    for task, prompt, make in tasks:
        chance = random.Random(f"{name}/{task}")  # noqa: S311  (the same items every time)
        rows = list(make(sources[task], chance))
        chance.shuffle(rows)
        _write(folder / f"{task}.jsonl", rows[: int(share * ITEMS)])
        listed.append(
            {"name": task, "kind": "multiple_choice", "data": f"{task}.jsonl", "prompt": prompt, "metric": "acc_norm"}
        )
    _write(folder / "reading.jsonl", [{"text": text} for text in _reading(reading, int(share * READING_BYTES))])
    listed.append({"name": "reading", "kind": "perplexity", "data": "reading.jsonl"})
    suite = {
        "format": "coalition-suite/v1",
        "name": name,
        "version": "1",
        "domain": domain,
        "licence": licence,
        "description": description,
        "tasks": listed,
    }
    (folder / "suite.json").write_text(json.dumps(suite, indent=2) + "\n")


def _reading(documents: Sequence[Passage], left: int) -> Iterator[str]:
    for document in documents:
        text = document.text[:READING_TEXT]
        if len(text.encode()) <= left and len(text) >= 100:
            left -= len(text.encode())
            yield text


def _halves(document: Passage) -> Iterator[tuple[Passage, str, str]]:
    """One paragraph of a document, cut between two sentences."""
    for paragraph in paragraphs(document.text):
        sentences = _SENTENCE.split(" ".join(paragraph.split()))
        if len(sentences) >= 2 and len(paragraph) >= 160:
            middle = len(sentences) // 2
            start, end = " ".join(sentences[:middle])[-200:], " ".join(sentences[middle:])[:120].strip()
            if len(start) >= 40 and len(end) >= 40:
                yield document, start, end
                return


def _choose(first: Sequence[str], rest: Sequence[str], chance: random.Random) -> list[str]:
    """Distractors: siblings first, then anything."""
    chosen = chance.sample(list(first), min(len(first), CHOICES - 1))
    fill = [text for text in rest if text not in chosen]
    return chosen + chance.sample(fill, CHOICES - 1 - len(chosen))


def _row(text: str, answer: str, distractors: Sequence[str], chance: random.Random) -> Row:
    position = chance.randrange(CHOICES)
    choices = [*distractors[:position], answer, *distractors[position:]]
    return {"text": text, "choices": choices, "answer": position}


def _mask(text: str, title: str) -> str:
    """The text with its title blanked out, so that copying is not enough."""
    return re.sub(re.escape(title), "___", text, flags=re.IGNORECASE)


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
