"""The SuperNode keys of members. Whose a key is follows from who registered it over mutual TLS."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session, select

from hub.rounds.tables import SiteRow
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid

MAX_LINE = 1024


def read_public_key(line: bytes) -> bytes:
    """An OpenSSH public key line to SPKI PEM, as Flower keeps it. Raises `Invalid` for anything but a P-384 key."""
    if len(line) > MAX_LINE:
        raise Invalid(f"The site key has more than {MAX_LINE} bytes.", field="public_key")
    try:
        key = serialization.load_ssh_public_key(line)
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("The site key is no OpenSSH public key line.", field="public_key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise Invalid("The site key is not on P-384.", field="public_key")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def claim_key(session: Session, member: str, public_key: bytes) -> None:
    """Note that the key is this member's. Raises `Denied` for one that is another's."""
    digest = digest_bytes(public_key)
    row = session.get(SiteRow, digest)
    if row is not None and row.member != member:
        raise Denied("This site key is registered already, by somebody else.", "Use a key of your own.")
    if row is None:
        session.add(SiteRow(digest=digest, member=member, public_key=public_key.decode()))


def all_keys(session: Session) -> list[bytes]:
    return [key.encode() for key in session.exec(select(SiteRow.public_key))]
