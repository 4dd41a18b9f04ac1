"""Cosignatures: what a witness says about a tree head, and when (c2sp.org/tlog-cosignature, the Ed25519 kind, `cosignature/v1`).

A v1 cosignature states that, at its time, the head is the largest consistent one that the witness has observed of this log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trust.encoding import to_base64
from trust.errors import Denied, Invalid
from trust.keys import WitnessKey, WitnessPublicKey
from trust.notes import MAX_NOTE, parse_note

MAX_TIME = 2**63 - 1
_TIMESTAMP = 8  # bytes, before the 64 of the signature
_SIGNATURE = 64


@dataclass(frozen=True)
class Cosignature:
    """That `witness` cosigned the note at `time` (POSIX seconds); `line` is how the note says so."""

    witness: WitnessPublicKey
    time: int
    line: bytes


def cosign(note: bytes, key: WitnessKey, time: int) -> bytes:
    """The signature line (with its newline) to append to the note. Raises `Invalid` for a malformed note or time."""
    if not 0 <= time <= MAX_TIME:
        raise Invalid(f"{time} is not a time in POSIX seconds.")
    signature = key.sign(_message(parse_note(note).text, time))
    stamped = time.to_bytes(_TIMESTAMP, "big") + signature
    return f"— {key.name} {to_base64(key.public.key_hash + stamped)}\n".encode()


def cosignatures(note: bytes, witnesses: Iterable[WitnessPublicKey]) -> list[Cosignature]:
    """The cosignatures of these witnesses that hold, one for each raw key, the newest. Those of strangers are read over, and
    so is a line of a witness that does not verify: it proves nothing. Raises `Invalid` for a malformed note.
    """
    parsed = parse_note(note)
    found: dict[bytes, Cosignature] = {}
    for witness in witnesses:
        for line in parsed.signatures:
            value = line.value
            if line.name != witness.name or value[:4] != witness.key_hash or len(value) != 4 + _TIMESTAMP + _SIGNATURE:
                continue
            time = int.from_bytes(value[4 : 4 + _TIMESTAMP], "big")
            try:
                witness.verify(value[4 + _TIMESTAMP :], _message(parsed.text, time))
            except Denied:
                continue
            known = found.get(witness.raw)
            if time <= MAX_TIME and (known is None or known.time < time):
                found[witness.raw] = Cosignature(witness, time, line.encode())
    return list(found.values())


def with_cosignatures(note: bytes, lines: Iterable[bytes]) -> bytes:
    """The note with further signature lines. Raises `Invalid` when it would become too long to read."""
    whole = note + b"".join(lines)
    if len(whole) > MAX_NOTE:
        raise Invalid("The tree head carries too many signatures.")
    parse_note(whole)
    return whole


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
