"""DSSE envelopes (github.com/secure-systems-lab/dsse, protocol v1): a payload, its type, and signatures over both.

The payload is stored and verified byte for byte and never serialised again; what an application reads must come from
the bytes that `verify` returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trust.canonical import emit, parse
from trust.encoding import from_base64, to_base64
from trust.errors import Denied, Invalid
from trust.keys import ArtifactKey, ArtifactPublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 2 << 20
MAX_SIGNATURES = 16


@dataclass(frozen=True)
class Signature:
    keyid: str  # a hint of the signer's; never a ground for trust
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """An envelope that was read, and not yet verified."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def verify(self, public_key: ArtifactPublicKey, payload_type: str = PAYLOAD_TYPE) -> bytes:
        """The payload, if `public_key` signed it under the expected type."""
        if self.payload_type != payload_type:
            raise Denied(f"The envelope's payload is of type {self.payload_type[:80]!r}, not {payload_type!r}.")
        message = pae(self.payload_type, self.payload)
        for signature in self.signatures:
            try:
                public_key.verify(signature.sig, message)
            except Denied:
                continue
            return self.payload
        raise Denied(f"The envelope carries no valid signature of key {public_key.keyid[:16]}.")


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is really signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: ArtifactKey, *others: ArtifactKey, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Sign a payload with one key or several and return the envelope's JSON."""
    envelope = envelope_json(payload, key, payload_type, keyid=key.public.keyid)
    envelope["signatures"] += [_signed(payload, other, payload_type, other.public.keyid) for other in others]
    return emit(envelope)


def envelope_json(payload: bytes, key: ArtifactKey, payload_type: str, *, keyid: str) -> dict[str, Any]:
    return {
        "payload": to_base64(payload),
        "payloadType": payload_type,
        "signatures": [_signed(payload, key, payload_type, keyid)],
    }


def _signed(payload: bytes, key: ArtifactKey, payload_type: str, keyid: str) -> dict[str, str]:
    return {"keyid": keyid, "sig": to_base64(key.sign(pae(payload_type, payload)))}


def open_envelope(data: bytes, *, max_bytes: int = MAX_ENVELOPE) -> Envelope:
    """Read an envelope without believing it."""
    return envelope_from_json(parse(data, max_bytes=max_bytes))


def envelope_from_json(value: Any) -> Envelope:
    if not isinstance(value, dict):
        raise Invalid("The envelope is not a JSON object.")
    signatures = value.get("signatures")
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise Invalid(f"The envelope must carry between 1 and {MAX_SIGNATURES} signatures.", field="signatures")
    return Envelope(
        payload=_bytes(value, "payload", "The envelope's payload"),
        payload_type=_text(value, "payloadType"),
        signatures=tuple(_signature(entry) for entry in signatures),
    )


def _signature(value: Any) -> Signature:
    if not isinstance(value, dict):
        raise Invalid("A signature of the envelope is not a JSON object.", field="signatures")
    keyid = value.get("keyid", "")
    if not isinstance(keyid, str):
        raise Invalid("A signature's keyid is not text.", field="signatures.keyid")
    return Signature(keyid, _bytes(value, "sig", "A signature of the envelope"))


def _bytes(value: dict[str, Any], name: str, what: str) -> bytes:
    """Standard or URL-safe base64, as the protocol asks of verifiers; never both in one text."""
    text = _text(value, name)
    if "+" not in text and "/" not in text:
        text = text.replace("-", "+").replace("_", "/")
    return from_base64(text, what)


def _text(value: dict[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise Invalid(f"The envelope lacks the text {name!r}.", field=name)
    return text
