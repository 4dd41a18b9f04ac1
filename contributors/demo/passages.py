"""Documents, and which part each belongs to: no paragraph stands in two parts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

SHORT = 50  # letters and digits; shorter paragraphs ("Parameters", "See also") are everywhere and say nothing
_OTHER = re.compile(r"[\W_]+")

Part = Literal["held-out", "private", "submitted"]
PARTS: tuple[Part, ...] = ("held-out", "private", "submitted")


@dataclass(frozen=True)
class Passage:
    """A document. `title` is what it is about, `group` what its siblings share (a parent term, a module)."""

    text: str
    title: str
    group: str

    @property
    def body(self) -> str:
        """The text without its title."""
        return self.text.removeprefix(self.title).lstrip(": \n")


def paragraphs(text: str) -> list[str]:
    return [part for part in text.split("\n\n") if part.strip()]


def normal(paragraph: str) -> str:
    """How paragraphs are compared: by letters and digits alone, blind to case, white space, hyphens and markup."""
    return _OTHER.sub("", paragraph).casefold()


def compared(document: Passage) -> list[tuple[str, str]]:
    """(paragraph, what it is compared by) of a document: two titles may carry one definition, so titles do not count."""
    return [(part, normal(part.removeprefix(document.title))) for part in paragraphs(document.text)]


def split(documents: Iterable[Passage]) -> dict[Part, list[Passage]]:
    """One tenth held out, three tenths private, the rest submitted, by a hash of each document; in hash order.

    A paragraph that occurs in several parts stays in the first of them (held-out, private, submitted) and is cut from
    the documents of the others.
    """
    ordered = sorted({document.text: document for document in documents}.values(), key=_hash)
    parts: dict[Part, list[Passage]] = {part: [] for part in PARTS}
    for document in ordered:
        parts[_part(document)].append(document)
    seen: set[str] = set()
    for part in PARTS:
        kept = [_without(document, seen) for document in parts[part]]
        parts[part] = [document for document in kept if document.text.strip()]
        seen |= {key for document in parts[part] for _, key in compared(document) if len(key) >= SHORT}
    return parts


def within(documents: Iterable[Passage], budget: int) -> list[Passage]:
    """The first documents that fit into `budget` bytes; one that does not fit is left out."""
    chosen, used = [], 0
    for document in documents:
        size = len(document.text.encode())
        if used + size <= budget:
            chosen.append(document)
            used += size
    return chosen


def _hash(document: Passage) -> str:
    return sha256(document.text.encode()).hexdigest()


def _part(document: Passage) -> Part:
    """By title, so that two documents about one thing stay together."""
    tenth = int(sha256(f"{document.group}/{document.title}".encode()).hexdigest(), 16) % 10
    return "held-out" if tenth == 0 else "private" if tenth <= 3 else "submitted"


def _without(document: Passage, seen: set[str]) -> Passage:
    kept = [paragraph for paragraph, key in compared(document) if key not in seen]
    return replace(document, text="\n\n".join(kept))
