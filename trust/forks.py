"""Proof that a log told two histories: two heads that its key signed and that cannot be of one append-only tree.

Two heads of one size with different roots prove it by themselves. For two sizes, a path (`merkle.prefix_path`) shows which
root the first entries of the larger tree have; the log signed another for that size. Checked offline, with the log's public
key alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trust import merkle
from trust.canonical import emit, parse
from trust.encoding import from_base64, to_base64
from trust.errors import Invalid
from trust.keys import LogPublicKey
from trust.notes import TreeHead, verify_tree_head

FORMAT = "coalition-fork-proof/v1"
MAX_BYTES = 1 << 18
MAX_PATH = 64


class OneHistory(Invalid):
    """The larger tree is shown to extend the smaller one."""


@dataclass(frozen=True)
class Fork:
    """Two signed notes, the smaller tree's first, and the path through the larger; empty where the sizes are equal."""

    smaller: bytes
    larger: bytes
    path: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """RFC 8785 JSON: the notes as they were signed, and the path in base64."""
        notes = [note.decode("utf-8") for note in (self.smaller, self.larger)]
        return emit({"format": FORMAT, "notes": notes, "path": [to_base64(value) for value in self.path]})

    @classmethod
    def decode(cls, data: bytes) -> Fork:
        """Raises `Invalid`."""
        value = parse(data, max_bytes=MAX_BYTES)
        if not isinstance(value, dict) or value.keys() != {"format", "notes", "path"} or value["format"] != FORMAT:
            raise Invalid(f"The file is not a {FORMAT}.")
        notes, path = _texts(value["notes"], 2), _texts(value["path"], MAX_PATH)
        if len(notes) != 2:
            raise Invalid("A fork has two notes.", field="notes")
        hashes = tuple(from_base64(text, "A hash of the path") for text in path)
        return cls(notes[0].encode(), notes[1].encode(), hashes)


def verify_fork(fork: Fork, key: LogPublicKey) -> tuple[TreeHead, TreeHead]:
    """The two heads that contradict one another. Raises `OneHistory` when they are shown not to, `Invalid` when they need not,
    `Denied` when `key` signed not both."""
    smaller, larger = (verify_tree_head(note, key, key.name) for note in (fork.smaller, fork.larger))
    if smaller.size == larger.size and not fork.path:
        if smaller.root == larger.root:
            raise Invalid("Both notes are of one and the same tree: they prove nothing.")
        return smaller, larger
    if not 0 < smaller.size < larger.size or any(len(value) != 32 for value in fork.path):
        raise Invalid("The notes' sizes and the path do not belong together: they prove nothing.")
    prefix, whole = merkle.roots_of_path(smaller.size, larger.size, fork.path)
    if whole != larger.root:
        raise Invalid("The path does not lead to the larger tree: it proves nothing.")
    if prefix == smaller.root:
        raise OneHistory("The larger tree extends the smaller one: there is no fork.")
    return smaller, larger


def _texts(value: Any, most: int) -> list[str]:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(text, str) for text in value):
        raise Invalid(f"The file is not a {FORMAT}.")
    return value
