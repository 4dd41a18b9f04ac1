"""The hub's own certificate authority (X.509, RFC 5280) and the names it gives to parties.

A party's name is the SAN URI `coalition://HUB/member/ID`, `.../node/NAME` or `.../delegate/DELEGATION`. It is what the hub
decided, never what a request asked for. TLS keys are ECDSA P-256: gRPC completes no handshake with an Ed25519 client certificate.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.digests import Digest, digest_bytes
from trust.errors import Denied, Invalid, NotFound
from trust.files import write_atomic
from trust.keys import ArtifactKey, ArtifactPublicKey

CA_YEARS = 10
SERVER_DAYS = 825
CLIENT_DAYS = 7
SKEW = dt.timedelta(minutes=5)

_NAME = re.compile(r"[a-z0-9-]{1,63}")
_URI = re.compile(r"coalition://([a-z0-9-]{1,63})/(member|node|delegate|hub)/([a-z0-9-]{1,63})")
_DNS = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*")

Kind = Literal["member", "node", "delegate", "hub"]


@dataclass(frozen=True)
class Party:
    """Who stands at the other end of a connection."""

    hub: str
    kind: Kind
    name: str


def party_uri(hub: str, kind: str, name: str) -> str:
    uri = f"coalition://{hub}/{kind}/{name}"
    party_from_uri(uri)
    return uri


def party_from_uri(uri: str) -> Party:
    match = _URI.fullmatch(uri)
    if not match:
        raise Invalid(
            f"{uri[:200]!r} names no party: it must read coalition://HUB/member/ID (or node, or delegate).",
            "Names have up to 63 lower-case letters, digits and hyphens.",
        )
    return Party(match[1], cast(Kind, match[2]), match[3])


def party_of(cert_pem: bytes) -> Party:
    """The party that a client certificate names; exactly one URI is expected."""
    try:
        names = _load(cert_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise Invalid("The certificate names no party.") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Invalid(f"The certificate names {len(uris)} parties; it must name one.")
    return party_from_uri(uris[0])


def fingerprint(cert_pem: bytes) -> Digest:
    """SHA-256 of the certificate in DER (of the first one, if the PEM holds a chain)."""
    return digest_bytes(_load(cert_pem).public_bytes(serialization.Encoding.DER))


def subject_of(cert_pem: bytes) -> str:
    """The common name; of an authority's certificate it is the hub's name."""
    names = _load(cert_pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        raise Invalid("The certificate has no common name.")
    return str(names[0].value)


def new_client_request(common_name: str) -> tuple[bytes, bytes]:
    """A fresh P-256 key and a signing request for it: (key PEM, CSR PEM). The name is a courtesy; the hub decides."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name)).sign(key, hashes.SHA256())
    return _key_pem(key), request.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Authority:
    """The hub's CA: a self-signed certificate whose common name is the hub's name."""

    hub: str
    cert_pem: bytes
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, hub_name: str, *, now: dt.datetime | None = None) -> Authority:
        if not _NAME.fullmatch(hub_name):
            raise Invalid(f"{hub_name[:70]!r} cannot name a hub.", "Use up to 63 lower-case letters, digits, hyphens.")
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(hub_name)
        builder = _builder(name, name, key.public_key(), dt.timedelta(days=CA_YEARS * 365 + 3), now)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(hub_name, certificate.public_bytes(serialization.Encoding.PEM), key)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Authority:
        """Read `ca.crt` and `ca.key`; the key must belong to the certificate and to its owner alone."""
        key = ArtifactKey.load(Path(folder) / "ca.key")
        try:
            cert_pem = (Path(folder) / "ca.crt").read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"There is no certificate authority in {folder}.") from error
        if ArtifactPublicKey.from_key(_load(cert_pem).public_key()) != key.public:
            raise Invalid(f"The certificate and the key of the authority in {folder} do not belong together.")
        private = serialization.load_pem_private_key(key.private_pem(), None)
        return cls(subject_of(cert_pem), cert_pem, cast(ec.EllipticCurvePrivateKey, private))

    def save(self, folder: str | PathLike[str]) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(folder) / "ca.key", _key_pem(self._key), mode=0o600)
        write_atomic(Path(folder) / "ca.crt", self.cert_pem)

    @property
    def fingerprint(self) -> Digest:
        return fingerprint(self.cert_pem)

    def issue_server(self, hosts: list[str], *, now: dt.datetime | None = None) -> tuple[bytes, bytes]:
        """(key PEM, chain PEM) for a listener; the CA ends the chain, so that a client can pin it."""
        key = ArtifactKey.generate().private_pem()
        return key, self.issue_server_chain(hosts, key, now=now)

    def issue_server_chain(self, hosts: list[str], key_pem: bytes, *, now: dt.datetime | None = None) -> bytes:
        """The chain alone, for a listener's key that is there already."""
        names = [_host(host) for host in hosts]
        if not names:
            raise Invalid("A server certificate needs at least one host name or address.")
        key = cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(key_pem, None))
        certificate = self._issue(
            hosts[0][:64], key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_DAYS, now
        )
        return certificate + self.cert_pem

    def issue_client(
        self, csr_pem: bytes, uri: str, days: float = CLIENT_DAYS, *, now: dt.datetime | None = None
    ) -> bytes:
        """A certificate for the request's key and for the party that we name: the request's own names are ignored."""
        party = party_from_uri(uri)
        if party.hub != self.hub:
            raise Invalid(f"The hub {self.hub} does not name parties of the hub {party.hub}.")
        return self._issue(
            party.name,
            _requested_key(csr_pem),
            [x509.UniformResourceIdentifier(uri)],
            ExtendedKeyUsageOID.CLIENT_AUTH,
            days,
            now,
        )

    def _issue(
        self,
        common_name: str,
        public_key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        days: float,
        now: dt.datetime | None,
    ) -> bytes:
        issuer = _load(self.cert_pem)
        key_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = _builder(_name(common_name), issuer.subject, public_key, dt.timedelta(days=days), now)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_identifier), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def public_key_of_request(csr_pem: bytes) -> ArtifactPublicKey:
    """The key that a signing request is for. Raises `Invalid`, or `Denied` when it is not signed by that key."""
    return ArtifactPublicKey.from_key(_requested_key(csr_pem))


def certificate_challenge(uri: str, csr_pem: bytes) -> bytes:
    """What the artifact key that speaks for a party signs, so that this party gets a certificate for this request's key."""
    return b"\n".join([b"coalition certificate v1", uri.encode(), hashlib.sha256(csr_pem).hexdigest().encode()])


def issued_at(cert_pem: bytes) -> dt.datetime:
    """When our authority issued a certificate."""
    return _load(cert_pem).not_valid_before_utc + SKEW


def server_hosts(chain_pem: bytes) -> list[str]:
    """The names and addresses of a listener's certificate. Raises `Invalid` for what is none."""
    try:
        names = _load(chain_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:
        raise Invalid("The extensions of the certificate cannot be read.") from error
    return [str(name.value) for name in names]


def _requested_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("The text is not a certificate signing request in PEM form.") from error
    if ArtifactPublicKey.from_key(key).spki not in request.tbs_certrequest_bytes:  # from_key refuses other curves
        raise Invalid("The certificate signing request spells its key in an unusual way.", "Use an uncompressed point.")
    try:
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        valid = False
    if not valid:
        raise Denied("The certificate signing request is not signed by the key that it names.")
    return cast(ec.EllipticCurvePublicKey, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    life: dt.timedelta,
    now: dt.datetime | None,
) -> x509.CertificateBuilder:
    now = now or dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _DNS.fullmatch(host.lower()):
            raise Invalid(f"{host[:80]!r} is neither a host name nor an IP address.") from None
        return x509.DNSName(host.lower())


def _name(common_name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError as error:
        raise Invalid(f"{common_name[:70]!r} is no common name: it must have 1 to 64 characters.") from error


def _load(cert_pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(cert_pem)
    except ValueError as error:
        raise Invalid("The text is not a certificate in PEM form.") from error


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
