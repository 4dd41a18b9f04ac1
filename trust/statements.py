"""in-toto Statements v1 (github.com/in-toto/attestation, spec/v1): who says what about which bytes.

Emitted canonically, sealed in DSSE. Read strictly: the closed set of fields that the coalition
signs, and nothing beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from trust import dsse
from trust.canonical import MAX_BYTES, emit, parse
from trust.digests import Digest, digest_bytes, hex_of, parse_digest
from trust.errors import Invalid
from trust.keys import ArtifactKey, ArtifactPublicKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_NAME = 1024
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Subject:
    """The bytes that a statement is about: a name for people, a digest for machines."""

    name: str
    digest: Digest


@dataclass(frozen=True)
class Statement:
    predicate_type: str
    subjects: tuple[Subject, ...]
    predicate: dict[str, Any] = field(hash=False)


def emit_statement(statement: Statement) -> bytes:
    """The canonical payload. What `read_statement` would refuse is refused here already, before it is signed."""
    payload = emit(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": s.name, "digest": {"sha256": hex_of(s.digest)}} for s in statement.subjects],
            "predicateType": statement.predicate_type,
            "predicate": statement.predicate,
        }
    )
    read_statement(payload, max_bytes=max(len(payload), 1))
    return payload


def sign_statement(statement: Statement, key: ArtifactKey, *others: ArtifactKey) -> bytes:
    """The envelope's bytes. Signing twice gives two envelopes of one payload: ECDSA is randomised."""
    payload = emit_statement(statement)
    if len(payload) > MAX_BYTES:
        raise Invalid(f"The statement has {len(payload)} bytes; {MAX_BYTES} are allowed.")
    return dsse.seal(payload, key, *others)


def verify_statement(envelope: bytes, key: ArtifactPublicKey) -> Statement:
    """The statement that `key` signed: read from the very bytes that were verified."""
    return read_statement(dsse.open_envelope(envelope).verify(key))


def payload_digest(envelope: bytes) -> Digest:
    """The identity of what is said, whoever signed it and however often; it proves no signature."""
    return digest_bytes(dsse.open_envelope(envelope).payload)


def unverified_statement(envelope: bytes) -> Statement:
    """What the envelope claims: to learn which key to verify it with, and for nothing else."""
    opened = dsse.open_envelope(envelope)
    if opened.payload_type != dsse.PAYLOAD_TYPE:
        raise Invalid(f"The envelope's payload is of type {opened.payload_type[:80]!r}, not an in-toto statement.")
    return read_statement(opened.payload)


def read_statement(payload: bytes, *, max_bytes: int = MAX_BYTES) -> Statement:
    value = _object(parse(payload, max_bytes=max_bytes), "The statement")
    _closed(value, {"_type", "subject", "predicateType", "predicate"}, "The statement")
    if value["_type"] != STATEMENT_TYPE:
        raise Invalid(f"The statement's _type is not {STATEMENT_TYPE}.", field="_type")
    predicate_type = value["predicateType"]
    if not isinstance(predicate_type, str) or not 1 <= len(predicate_type) <= MAX_NAME:
        raise Invalid("The statement's predicateType is not a short text.", field="predicateType")
    subjects = value["subject"]
    if not isinstance(subjects, list) or not subjects:
        raise Invalid("The statement names no subject.", field="subject")
    return Statement(
        predicate_type=predicate_type,
        subjects=tuple(_subject(subject) for subject in subjects),
        predicate=_object(value["predicate"], "The statement's predicate"),
    )


def _subject(value: Any) -> Subject:
    subject = _object(value, "A subject")
    _closed(subject, {"name", "digest"}, "A subject")
    name, digests = subject["name"], _object(subject["digest"], "A subject's digest")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise Invalid("A subject's name is not a short text.", field="subject.name")
    _closed(digests, {"sha256"}, "A subject's digest")
    if not isinstance(digests["sha256"], str) or not _HEX.fullmatch(digests["sha256"]):
        raise Invalid(f"The sha256 of subject {name[:60]!r} is not 64 lower-case hex digits.", field="subject.digest")
    return Subject(name, parse_digest(f"sha256:{digests['sha256']}"))


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{what} is not a JSON object.")
    return value


def _closed(value: dict[str, Any], fields: set[str], what: str) -> None:
    if missing := fields - value.keys():
        raise Invalid(f"{what} lacks the field {min(missing)!r}.", field=min(missing))
    if extra := value.keys() - fields:
        raise Invalid(f"{what} has the unknown field {min(extra)[:60]!r}.", field=min(extra)[:60])
