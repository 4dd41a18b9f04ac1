"""DSSE envelopes and in-toto statements: what was signed is what is read."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from trust import dsse
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Problem
from trust.keys import ArtifactKey, ArtifactPublicKey
from trust.statements import (
    Statement,
    Subject,
    emit_statement,
    payload_digest,
    sign_statement,
    unverified_statement,
    verify_statement,
)

KEY, OTHER = ArtifactKey.generate(), ArtifactKey.generate()
STATEMENT = Statement("urn:test", (Subject("file", digest_bytes(b"content")),), {"name": "value", "list": [1, 2]})
ENVELOPE = sign_statement(STATEMENT, KEY)  # once: the length of a DER signature differs from one to the next


def test_the_pre_authentication_encoding_is_the_specifications() -> None:
    """The example of the DSSE protocol, v1."""
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_are_those_of_bytes_and_an_empty_payload_keeps_its_space() -> None:
    """Two of the DSSE project's test vectors (non-ascii-payload-type, empty-payload)."""
    kind = "application/vnd.ex\u00e4mple+json"
    assert dsse.pae(kind, b"x") == b"DSSEv1 29 application/vnd.ex\xc3\xa4mple+json 1 x"
    assert dsse.pae("application/vnd.in-toto+json", b"") == b"DSSEv1 28 application/vnd.in-toto+json 0 "


def test_the_specifications_signature_verifies() -> None:
    """The example of the DSSE protocol, v1: P-256 and SHA-256; it writes r and s where we expect DER."""
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    public = ArtifactPublicKey.from_key(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    raw = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    envelope = {
        "payload": "aGVsbG8gd29ybGQ=",
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [{"sig": base64.b64encode(der).decode()}],
    }
    opened = dsse.open_envelope(json.dumps(envelope).encode())
    assert opened.verify(public, "http://example.com/HelloWorld") == b"hello world"


def test_either_alphabet_of_base64_is_read_and_no_mixture() -> None:
    payload = b"\xfb\xff\xbf>?"
    envelope = json.loads(dsse.seal(payload, KEY))
    assert envelope["payload"] == "+/+/Pj8="
    envelope["payload"] = "-_-_Pj8="
    envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    assert dsse.open_envelope(json.dumps(envelope).encode()).verify(KEY.public) == payload
    envelope["payload"] = "-/-/Pj8="
    with pytest.raises(Invalid):
        dsse.open_envelope(json.dumps(envelope).encode())


def test_a_statement_reads_as_it_was_signed() -> None:
    assert verify_statement(sign_statement(STATEMENT, KEY), KEY.public) == STATEMENT


def test_two_signatures_of_one_payload_have_one_identity() -> None:
    first, second = sign_statement(STATEMENT, KEY), sign_statement(STATEMENT, KEY)
    assert first != second
    assert payload_digest(first) == payload_digest(second)


def test_another_key_is_refused() -> None:
    with pytest.raises(Denied):
        verify_statement(sign_statement(STATEMENT, OTHER), KEY.public)


def test_one_of_several_signatures_is_enough() -> None:
    envelope = json.loads(sign_statement(STATEMENT, OTHER))
    envelope["signatures"].append(json.loads(sign_statement(STATEMENT, KEY))["signatures"][0])
    assert verify_statement(json.dumps(envelope).encode(), KEY.public) == STATEMENT


@given(st.data())
def test_a_changed_byte_never_verifies_as_something_else(data: st.DataObject) -> None:
    envelope = bytearray(ENVELOPE)
    place = data.draw(st.integers(0, len(envelope) - 1))
    envelope[place] ^= data.draw(st.integers(1, 255))
    try:
        found = verify_statement(bytes(envelope), KEY.public)
    except Problem:
        return
    assert found == STATEMENT  # a change outside what is signed, such as the key's hint


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": [{"name": "x", "digest": {"sha1": "00"}}]},
        {"predicate": "text"},
        {"extra": 1},
    ],
)
def test_a_statement_outside_its_schema_is_refused(change: dict[str, object]) -> None:
    good = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
        "predicateType": "urn:test",
        "predicate": {},
    }
    with pytest.raises(Invalid):
        unverified_statement(dsse.seal(json.dumps({**good, **change}).encode(), KEY))


def test_a_payload_of_another_type_is_refused() -> None:
    envelope = dsse.seal(emit_statement(STATEMENT), KEY, payload_type="text/plain")
    with pytest.raises(Invalid):
        unverified_statement(envelope)
    with pytest.raises(Denied, match="type"):
        verify_statement(envelope, KEY.public)
