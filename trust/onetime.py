"""Keys for one use: two parties agree on a secret, seal to one another, and stretch a secret into a stream.

X25519 (RFC 7748), HKDF with SHA-256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439), AES-256 in counter mode (NIST SP 800-38A). Whose
a one-time key is, a signature must say: see `check_site_signature`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trust.digests import digest_bytes
from trust.errors import Denied, Invalid

SECRET = 32
NONCE = 12
CHUNK = 1 << 20


@dataclass(frozen=True)
class OneTimeKey:
    """An X25519 private key: its 32 bytes."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> OneTimeKey:
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def agree(self, other: bytes, context: bytes) -> bytes:
        """32 bytes that only who holds either private key can derive; other in every `context`. Raises `Invalid` for a public
        key that is none, or of low order."""
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError:
            raise Invalid("A one-time key is no point that anything can be agreed with.") from None
        both = b"".join(sorted((self.public, other)))
        return HKDF(algorithm=hashes.SHA256(), length=SECRET, salt=None, info=context + both).derive(shared)

    @property
    def _key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret)


def seal(key: bytes, plain: bytes, about: bytes) -> bytes:
    """Nonce, ciphertext and tag; opens for the same `about` alone."""
    nonce = os.urandom(NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, plain, about)


def open_sealed(key: bytes, box: bytes, about: bytes) -> bytes:
    """Raises `Denied` where it was sealed with another key, about something else, or changed."""
    try:
        return ChaCha20Poly1305(key).decrypt(box[:NONCE], box[NONCE:], about)
    except (InvalidTag, ValueError):
        raise Denied("A sealed message does not open: it was changed, or is for somebody else.") from None


def keystream(secret: bytes, size: int) -> Iterator[bytes]:
    """`size` bytes that follow from 32 secret ones, in chunks of 1 MiB. One secret makes one stream and serves nothing else: its
    counter begins at 0."""
    encryptor = Cipher(algorithms.AES256(secret), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(CHUNK)
    for start in range(0, size, CHUNK):
        yield encryptor.update(zeros if size - start >= CHUNK else bytes(size - start))


def check_site_signature(public_pem: bytes, digest: str, signature: bytes, message: bytes) -> None:
    """That the site's key of this digest, P-384 as SPKI PEM, signed the message (ECDSA with SHA-384). Raises `Denied`."""
    if digest_bytes(public_pem) != digest:
        raise Denied("A site's key is not the one that its member's consent names.")
    try:
        key = serialization.load_pem_public_key(public_pem)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1):
            key.verify(signature, message, ec.ECDSA(hashes.SHA384()))
            return
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        pass
    raise Denied("A site's signature does not hold.")
