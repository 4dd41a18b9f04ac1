"""The authorities of a hub, told to its parties under the hub's statement key: so that one can follow another.

A party pins the authority at its enrolment. Later ones it learns from the hub over mutual TLS, and believes them only under the
statement key that it pinned with the first: whoever holds no more than a server's TLS key cannot make itself an authority.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from trust.certificates import subject_of
from trust.errors import Denied, Invalid
from trust.keys import ArtifactKey, ArtifactPublicKey

MAX_BUNDLE = 64 * 1024
MAX_AUTHORITIES = 4


def sign_authorities(hub: str, bundle: bytes, key: ArtifactKey) -> bytes:
    """The hub's word that these certificates (PEM, one after the other) are its authorities."""
    return key.sign(_message(hub, bundle))


def verify_authorities(hub: str, bundle: bytes, proof: bytes, key: ArtifactPublicKey) -> tuple[bytes, ...]:
    """The authorities, each as PEM. Raises `Denied` for another's word, `Invalid` for what is no authority of this hub."""
    if len(bundle) > MAX_BUNDLE:
        raise Invalid(f"The hub names authorities of {len(bundle)} bytes.")
    try:
        key.verify(proof, _message(hub, bundle))
    except Denied:
        raise Denied(
            "The hub names authorities that its statement key did not sign.",
            "Somebody may be in between; tell the core team.",
        ) from None
    return split_bundle(bundle, hub)


def split_bundle(bundle: bytes, hub: str) -> tuple[bytes, ...]:
    """Each certificate of a bundle as PEM. Raises `Invalid` unless all are authorities named after the hub."""
    try:
        certificates = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        raise Invalid("The hub's authorities are not certificates in PEM form.") from None
    if not 1 <= len(certificates) <= MAX_AUTHORITIES:
        raise Invalid(f"The hub names {len(certificates)} authorities.")
    found = tuple(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    for certificate, pem in zip(certificates, found, strict=True):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca or subject_of(pem) != hub:
            raise Invalid(f"A certificate that the hub names is not an authority of {hub}.")
    return found


def _message(hub: str, bundle: bytes) -> bytes:
    return b"\n".join([b"coalition authorities v1", hub.encode(), hashlib.sha256(bundle).hexdigest().encode()])
