"""The SuperNode keys of members. Whose a key is follows from who registered it over mutual TLS."""

from __future__ import annotations

import hmac
import secrets
import time

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session, select

from hub.blobs import BlobStore
from hub.members.belief import Belief
from hub.rounds.control import given_up
from hub.rounds.standings import counts
from hub.rounds.tables import ConsentRow, SiteRow
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Unavailable

MAX_LINE = 1024
NONCE_SECONDS = 60.0


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


class Nonces:
    """Nonces that need not be remembered: the hub knows its own, of one member and of the last minute. `secret` is the hub's."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def give(self, member: str) -> bytes:
        moment = int(time.monotonic()).to_bytes(8, "big")
        return moment + self._mark(moment, member)

    def check(self, member: str, nonce: bytes) -> None:
        """Raises `Unavailable` for one that is too old, another member's or none of ours: a new attempt gets a new one."""
        moment, mark = nonce[:8], nonce[8:]
        ours = hmac.compare_digest(mark, self._mark(moment, member))
        if not ours or time.monotonic() - int.from_bytes(moment, "big") > NONCE_SECONDS:
            raise Unavailable("The registration of the site was not begun here, or too long ago.", "Try again.")

    def _mark(self, moment: bytes, member: str) -> bytes:
        return hmac.digest(self._secret, moment + member.encode(), "sha256")


def check_possession(public_key: bytes, challenge: bytes, proof: bytes) -> None:
    """That who registers a key (SPKI PEM, P-384) holds it. Raises `Denied`."""
    key = serialization.load_pem_public_key(public_key)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(proof, challenge, ec.ECDSA(hashes.SHA384()))
            return
    except InvalidSignature:
        pass
    raise Denied("The site key did not sign the hub's challenge: nobody showed that it is held.")


def claim_key(session: Session, member: str, public_key: bytes) -> None:
    """Note that the key is this member's. Raises `Denied` for one that is another's, and for one that was given up."""
    digest = digest_bytes(public_key)
    row = session.get(SiteRow, digest)
    if row is not None and not row.member:
        raise given_up()
    if row is not None and row.member != member:
        raise Denied("This site key is registered already, by somebody else.", "Use a key of your own.")
    if row is None:
        session.add(SiteRow(digest=digest, member=member, public_key=public_key.decode()))


def give_up(session: Session, blobs: BlobStore) -> list[bytes]:
    """Take the keys away that a disowned consent names, and those of members that were revoked; all that were ever given up.

    Who stole a member's key may have put a SuperNode of its own into a campaign with it.
    """
    belief = Belief(session, blobs)
    doubted = {row.site_key for row in session.exec(select(ConsentRow)) if not counts(belief, row)}
    for row in session.exec(select(SiteRow).where(SiteRow.member != "")):
        if row.digest in doubted or belief.standing(row.member).revoked:
            row.member = ""
            session.add(row)
    return [key.encode() for key in session.exec(select(SiteRow.public_key).where(SiteRow.member == ""))]
