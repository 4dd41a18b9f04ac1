"""The site's own key: it proves to the SuperLink that a SuperNode is ours. The consent that we sign names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contributors.client import Coalition
from protos.coalition.v1 import rounds_pb2
from protos.documents.campaigns import site_challenge
from trust.digests import Digest, digest_bytes
from trust.errors import Invalid
from trust.files import write_private
from trust.keys import read_secret_file


@dataclass(frozen=True)
class SiteKey:
    """`public_line` is an OpenSSH line; `digest` the SHA-256 of the public key as SPKI PEM, which is what consents name."""

    public_line: bytes
    digest: Digest
    private_path: Path

    @property
    def public_pem(self) -> bytes:
        """SPKI PEM, of which `digest` is."""
        return _public_pem(_load(self.private_path))

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-384."""
        return _load(self.private_path).sign(message, ec.ECDSA(hashes.SHA384()))


def register(hub: Coalition, key: SiteKey) -> rounds_pb2.RegisterSiteResponse:
    """Make our key known to the hub, which sees that we hold it. Raises what the hub refuses."""
    nonce = hub.begin_site()
    proof = key.sign(site_challenge(hub.identity.hub, hub.identity.id, nonce, key.digest))
    return hub.register_site(key.public_line, nonce, proof)


def site_key(home: Path) -> SiteKey:
    """The key in a member's home, made on first use: EC P-384 in OpenSSH's private format, as flower-supernode reads it."""
    path = home / "keys" / "site.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = ec.generate_private_key(ec.SECP384R1())
        write_private(path, _private_bytes(fresh))
    key = _load(path)
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return SiteKey(line, digest_bytes(_public_pem(key)), path)


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_ssh_private_key(read_secret_file(path), None)
    except ValueError:
        raise Invalid(f"{path} is no OpenSSH private key.", "Move it away: the site makes a new one.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise Invalid(f"{path} is no P-384 key.", "Move it away: the site makes a new one.")
    return key


def discard(home: Path) -> None:
    """The site makes a new one at its next start: whoever had the home may have copied this."""
    (home / "keys" / "site.key").unlink(missing_ok=True)


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
