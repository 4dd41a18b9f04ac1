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
    """`keyid` is the SHA-256 of its key's SubjectPublicKeyInfo in hex; `issued` and `expires` are UTC."""

    party: Party
    keyid: str
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
        issued=certificate.not_valid_before_utc + SKEW,
        expires=certificate.not_valid_after_utc,
    )
