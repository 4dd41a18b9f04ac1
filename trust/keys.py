"""The kinds of key that sign for the coalition.

Artifact keys are ECDSA P-256 with SHA-256 and DER signatures (FIPS 186-5, RFC 5915/5958): HSMs hold them, and Sigstore
clients and `model_signing verify key` accept them. Log and witness keys are Ed25519 (RFC 8032) in the spelling of C2SP
signed notes (c2sp.org/signed-note): `name+hash+base64` for the public half.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from trust.encoding import from_base64, to_base64
from trust.errors import Denied, Invalid, NotFound
from trust.files import write_private
from trust.points import check_ed25519

_ECDSA = ec.ECDSA(hashes.SHA256())
_MAX_KEY_FILE = 16 * 1024
_SPKI_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n?")


@dataclass(frozen=True)
class ArtifactPublicKey:
    """A P-256 public key. Two are equal when their points are, whatever they were read from."""

    raw: bytes  # the uncompressed point, 65 bytes

    @classmethod
    def from_pem(cls, pem: bytes) -> ArtifactPublicKey:
        """Read the one usual spelling of a key: a lone SubjectPublicKeyInfo (RFC 5480), named curve, uncompressed point.

        Whatever else parsers understand (compressed points, explicit curve parameters, certificates, text around it) is
        refused, so that one key is one text. Raises `Invalid`.
        """
        match = _SPKI_PEM.fullmatch(pem) if len(pem) <= _MAX_KEY_FILE else None
        if match is None:
            raise Invalid("The text is not a public key in PEM form.")
        try:
            found = cls.from_key(serialization.load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Invalid("The text is not a public key in PEM form.") from error
        if b"".join(match[1].split()) != base64.b64encode(found.spki):
            raise Invalid("The public key is encoded in an unusual way.", "Write it as OpenSSL does: uncompressed.")
        return found

    @classmethod
    def from_key(cls, key: object) -> ArtifactPublicKey:
        """Wrap a key of `cryptography`; whatever is not on P-256 is refused."""
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Invalid("The public key is not an ECDSA key on the curve P-256.")
        return cls(key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint))

    def pem(self) -> bytes:
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def keyid(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo in DER, in hex. A hint for look-ups, never a proof of anything."""
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def spki(self) -> bytes:
        """The SubjectPublicKeyInfo in DER."""
        return self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verify(self, signature: bytes, message: bytes) -> None:
        try:
            self._key.verify(signature, message, _ECDSA)
        except InvalidSignature as error:
            raise Denied(f"The signature is not one of key {self.keyid[:16]} over these bytes.") from error

    @property
    def _key(self) -> ec.EllipticCurvePublicKey:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.raw)


@dataclass(frozen=True)
class ArtifactKey:
    """A P-256 private key, held in memory."""

    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> ArtifactKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ArtifactKey:
        return cls.from_pem(read_secret_file(path), str(path))

    @classmethod
    def from_pem(cls, pem: bytes, where: str = "The text") -> ArtifactKey:
        """Raises `Invalid`, naming `where` it stands and never what it is."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid(f"{where} is not an unencrypted private key in PKCS#8 PEM form.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Invalid(f"{where} does not hold an ECDSA key on the curve P-256.")
        return cls(key)

    def save(self, path: str | PathLike[str]) -> None:
        write_private(path, self.private_pem())

    def private_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public(self) -> ArtifactPublicKey:
        return ArtifactPublicKey.from_key(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, _ECDSA)


def read_secret_file(path: str | PathLike[str]) -> bytes:
    """Read a secret that nobody but its owner can read; refuse one that others can."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"There is no key at {path}.") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise Denied(f"The key {path} can be read by others (mode {mode:04o}).", f"Run `chmod 600 {Path(path)}`.")
        return file.read(_MAX_KEY_FILE)


# --- Ed25519 keys of signed notes ---------------------------------------------------------------------------------------

_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True)
class NotePublicKey:
    """An Ed25519 public key with the name it signs under. What it signs with it, says the kind of key (c2sp.org/signed-note)."""

    ALGORITHM: ClassVar[bytes]
    """The byte that keeps the signatures of one kind of key from being those of another."""
    KIND: ClassVar[str]

    name: str
    raw: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Invalid(
                f"{self.name[:60]!r} cannot name a {self.KIND}: it is empty, or holds white space or a plus sign."
            )
        check_ed25519(self.raw)

    @classmethod
    def decode(cls, vkey: str) -> Self:
        """Read `name+hash+base64`; the hash is checked, so that a mistyped key is noticed."""
        parts = vkey.strip().split("+", 2)
        data = from_base64(parts[-1], f"The last part of the {cls.KIND}")
        if len(parts) != 3 or len(data) != 33 or data[:1] != cls.ALGORITHM:
            raise Invalid(f"The text is not a {cls.KIND} of the form name+hash+base64 with an Ed25519 key.")
        key = cls(parts[0], data[1:])
        if parts[1] != key.key_hash.hex():
            raise Invalid(f"The {cls.KIND} of {key.name} does not match its own hash; a character may be mistyped.")
        return key

    def encode(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}+{to_base64(self.ALGORITHM + self.raw)}"

    @property
    def key_hash(self) -> bytes:
        """The four bytes that a signature line carries: SHA-256(name, newline, algorithm, key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.ALGORITHM + self.raw).digest()[:4]

    def verify(self, signature: bytes, message: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature as error:
            raise Denied(f"The signature is not one of {self.KIND} {self.name}+{self.key_hash.hex()}.") from error


class LogPublicKey(NotePublicKey):
    """Signs tree heads: an Ed25519 signature over the note's text."""

    ALGORITHM = b"\x01"
    KIND = "log key"


class WitnessPublicKey(NotePublicKey):
    """Cosigns tree heads (c2sp.org/tlog-cosignature): see `trust.cosignatures`."""

    ALGORITHM = b"\x04"
    KIND = "witness key"


Public = TypeVar("Public", bound=NotePublicKey)


@dataclass(frozen=True)
class NoteKey(Generic[Public]):
    """An Ed25519 private key with the name it signs under; its file is the one of Go's sumdb/note."""

    PUBLIC: ClassVar[type[NotePublicKey]]

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> Self:
        key = cls(name, Ed25519PrivateKey.generate().private_bytes_raw())
        _ = key.public  # refuses a bad name
        return key

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        text = read_secret_file(path).decode("utf-8", "replace").strip()
        prefix, _, rest = text.partition("+KEY+")
        parts = rest.split("+", 2)
        data = from_base64(parts[-1], f"The last part of the {cls.PUBLIC.KIND}")
        if prefix != "PRIVATE" or len(parts) != 3 or len(data) != 33 or data[:1] != cls.PUBLIC.ALGORITHM:
            raise Invalid(f"{path} is not a {cls.PUBLIC.KIND} of the form PRIVATE+KEY+name+hash+base64.")
        key = cls(parts[0], data[1:])
        if parts[1] != key.public.key_hash.hex():
            raise Invalid(f"The {cls.PUBLIC.KIND} in {path} does not match its own hash; the file may be damaged.")
        return key

    def save(self, path: str | PathLike[str]) -> None:
        encoded = to_base64(self.PUBLIC.ALGORITHM + self.seed)
        write_private(path, f"PRIVATE+KEY+{self.name}+{self.public.key_hash.hex()}+{encoded}\n".encode())

    @property
    def public(self) -> Public:
        raw = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return cast(Public, self.PUBLIC(self.name, raw))

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)


class LogKey(NoteKey[LogPublicKey]):
    """The hub's, for tree heads."""

    PUBLIC = LogPublicKey


class WitnessKey(NoteKey[WitnessPublicKey]):
    """A member's, for cosignatures."""

    PUBLIC = WitnessPublicKey
