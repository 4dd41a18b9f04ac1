"""Signed tree heads: C2SP signed notes (c2sp.org/signed-note) that carry a checkpoint (c2sp.org/tlog-checkpoint)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trust.encoding import from_base64, to_base64
from trust.errors import Corrupt, Denied, Invalid
from trust.keys import LogKey, LogPublicKey

MAX_NOTE = 65_536
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class TreeHead:
    """The whole log in one hash: `root` over its first `size` entries."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


@dataclass(frozen=True)
class SignatureLine:
    """`value` is the key's hash (4 bytes) and what its kind of key appends."""

    name: str
    value: bytes

    def encode(self) -> bytes:
        return f"— {self.name} {to_base64(self.value)}\n".encode()


@dataclass(frozen=True)
class Note:
    """`text` is what is signed, with its last newline."""

    text: str
    signatures: tuple[SignatureLine, ...]


def sign_tree_head(head: TreeHead, *keys: LogKey) -> bytes:
    """The note, signed by every key. Raises `Invalid` for a head that would not read back as itself."""
    text = head.text()
    if _CONTROL.search(text) or _read(text) != head:
        raise Invalid("The tree head cannot be written as a note.")
    lines = [
        f"— {key.name} {to_base64(key.public.key_hash + key.sign(text.encode()))}\n"  # RFC 8032 signature
        for key in keys
    ]
    return (text + "\n" + "".join(lines)).encode()


def verify_tree_head(note: bytes, key: LogPublicKey, origin: str) -> TreeHead:
    """What `key` signed. Raises `Invalid` when malformed, `Denied` when unsigned, `Corrupt` for another log's."""
    parsed = parse_note(note)
    ours = [line.value for line in parsed.signatures if line.name == key.name and line.value[:4] == key.key_hash]
    if not ours:
        raise Denied(f"The tree head is not signed by {key.name}.")
    for value in ours:
        key.verify(value[4:], parsed.text.encode())
    head = _read(parsed.text)
    if head.origin != origin:
        raise Corrupt(f"The tree head is of the log {head.origin!r}, not {origin!r}.")
    return head


def parse_note(note: bytes) -> Note:
    """Text and signature lines (c2sp.org/signed-note), none of them verified. Raises `Invalid`."""
    if len(note) > MAX_NOTE:
        raise Invalid("The tree head is too long.")
    try:
        decoded = note.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("The tree head is not UTF-8.") from None
    if _CONTROL.search(decoded):
        raise Invalid("The tree head holds control characters.")
    text, blank, tail = decoded.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise Invalid("The tree head carries no signatures.")
    signatures = []
    for line in tail[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if not match:
            raise Invalid("A signature line of the tree head is malformed.")
        signatures.append(SignatureLine(match[1], from_base64(match[2], "A signature of the tree head")))
    return Note(text + "\n", tuple(signatures))


def claimed_head(note: bytes) -> TreeHead:
    """What the note says, whoever signed it: to learn which key to verify it with, and for nothing else."""
    return _read(parse_note(note).text)


def _read(text: str) -> TreeHead:
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _SIZE.fullmatch(lines[1]):
        raise Invalid("The tree head does not name an origin, a size and a root.")
    root = from_base64(lines[2], "The root of the tree head")
    if len(root) != 32:
        raise Invalid("The root of the tree head is not a SHA-256 hash.")
    return TreeHead(lines[0], int(lines[1]), root)
