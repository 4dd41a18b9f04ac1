"""What a client certificate says, once TLS has verified that the hub's authority issued it."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.certificates import SKEW, Party, party_of


@dataclass(frozen=True)
class ClientCertificate:
    """`keyid` is the SHA-256 of its key's SubjectPublicKeyInfo in hex; `issued` and `expires` are UTC.

    `issuer` is the key identifier of the authority that issued it (RFC 5280, 4.2.1.1), as `authority_id` gives it.
    """

    party: Party
    keyid: str
    issuer: str
    issued: dt.datetime
    expires: dt.datetime


@lru_cache(maxsize=4096)
def read_client_certificate(cert_pem: bytes) -> ClientCertificate:
    """Remembered, since every call of a connection shows the same one. Raises `Invalid`."""
    party = party_of(cert_pem)
    certificate = x509.load_pem_x509_certificate(cert_pem)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ClientCertificate(
        party=party,
        keyid=hashlib.sha256(spki).hexdigest(),
        issuer=_issuer(certificate),
        issued=certificate.not_valid_before_utc + SKEW,
        expires=certificate.not_valid_after_utc,
    )


def authority_id(cert_pem: bytes) -> str:
    """The key identifier of an authority's certificate, in hex: what it issues names it by that."""
    extensions = x509.load_pem_x509_certificate(cert_pem).extensions
    return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def _issuer(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return (found or b"").hex()
