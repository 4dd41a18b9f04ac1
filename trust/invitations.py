"""Invitations: one line of text that lets a stranger enrol, and tells it which hub to trust."""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from trust.digests import Digest, digest_bytes, hex_of, parse_digest
from trust.errors import Invalid

PREFIX = "coalition-"
_LENGTH = 32 + 32 + 2
_CHECK = 4


@dataclass(frozen=True)
class Invitation:
    """`secret` is spent once; `ca_fingerprint` pins the hub's authority; `port` is the enrolment listener's."""

    secret: bytes = field(repr=False)
    ca_fingerprint: Digest
    port: int

    def __post_init__(self) -> None:
        if len(self.secret) != 32 or not 0 <= self.port <= 0xFFFF:
            raise Invalid("An invitation has a secret of 32 bytes and a port of at most 65535.")

    @classmethod
    def create(cls, ca_fingerprint: Digest, port: int) -> Invitation:
        return cls(secrets.token_bytes(32), ca_fingerprint, port)

    def encode(self) -> str:
        """The token: base32, because people read it out; a checksum tells a mistyped one."""
        body = self.secret + bytes.fromhex(hex_of(self.ca_fingerprint)) + self.port.to_bytes(2, "big")
        text = base64.b32encode(body + sha256(PREFIX.encode() + body).digest()[:_CHECK]).decode()
        return PREFIX + text.rstrip("=").lower()

    @classmethod
    def decode(cls, text: str) -> Invitation:
        """Raises `Invalid` for a mistyped or cut token; the message never repeats it."""
        token = text.strip()
        encoded = token.removeprefix(PREFIX).upper()
        try:
            data = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
        except (binascii.Error, ValueError):
            data = b""
        body, check = data[:_LENGTH], data[_LENGTH:]
        if (
            not token.startswith(PREFIX)
            or len(body) != _LENGTH
            or sha256(PREFIX.encode() + body).digest()[:_CHECK] != check
        ):
            raise Invalid("The invitation token is incomplete or mistyped.", "Copy the whole line that you were given.")
        fingerprint = parse_digest(f"sha256:{body[32:64].hex()}")
        return cls(body[:32], fingerprint, int.from_bytes(body[64:], "big"))

    def secret_hash(self) -> Digest:
        """What the hub keeps instead of the secret."""
        return digest_bytes(self.secret)


NONCE = 32
"""Bytes of the nonce that the hub gives for one attempt to enrol."""


def enrolment_challenge(
    use: Literal["artifact", "tls"], hub: str, nonce: bytes, secret: Digest, csr_pem: bytes
) -> bytes:
    """What each key signs at enrolment: possession now, as this kind of key, for this hub, invitation and TLS key only."""
    parts = [
        b"coalition enrolment v2",
        use.encode(),
        hub.encode(),
        nonce.hex().encode(),
        secret.encode(),
        sha256(csr_pem).hexdigest().encode(),
    ]
    return b"\n".join(parts)
