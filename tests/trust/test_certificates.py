"""The hub's authority names parties; what a request asks for counts for nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trust.certificates import Authority, Party, fingerprint, new_client_request, party_from_uri, party_of, party_uri
from trust.errors import Denied, Invalid, NotFound


def test_the_authority_names_the_party_whatever_the_request_says() -> None:
    authority = Authority.create("europe")
    _, request = new_client_request("somebody-else")
    certificate = authority.issue_client(request, party_uri("europe", "member", "law-institute"))
    assert party_of(certificate) == Party("europe", "member", "law-institute")


def test_it_does_not_name_parties_of_another_hub() -> None:
    _, request = new_client_request("me")
    with pytest.raises(Invalid):
        Authority.create("europe").issue_client(request, party_uri("asia", "member", "me"))


def test_it_survives_the_disk(tmp_path: Path) -> None:
    authority = Authority.create("europe")
    authority.save(tmp_path)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    loaded = Authority.load(tmp_path)
    assert (loaded.hub, loaded.fingerprint) == ("europe", fingerprint(authority.cert_pem))
    with pytest.raises(NotFound):
        Authority.load(tmp_path / "elsewhere")


def test_a_request_must_be_signed_by_its_own_p256_key() -> None:
    authority, uri = Authority.create("europe"), party_uri("europe", "member", "me")
    with pytest.raises(Invalid):
        authority.issue_client(b"rubbish", uri)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    large = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = large.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256())
    with pytest.raises(Invalid):
        authority.issue_client(request.public_bytes(serialization.Encoding.PEM), uri)
    _, good = new_client_request("me")
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises((Denied, Invalid)):
        authority.issue_client(broken, uri)


def test_a_server_certificate_carries_its_authority_so_that_clients_can_pin_it() -> None:
    authority = Authority.create("europe")
    _, chain = authority.issue_server(["127.0.0.1", "hub.example.org"])
    leaf, root = x509.load_pem_x509_certificates(chain)
    assert root.public_bytes(serialization.Encoding.PEM) == authority.cert_pem
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.example.org"]


@pytest.mark.parametrize(
    "uri", ["", "https://x", "coalition://hub/core/x", "coalition://hub/member/UPPER", "coalition://h/member/a/b"]
)
def test_other_names_are_no_party(uri: str) -> None:
    with pytest.raises(Invalid):
        party_from_uri(uri)


def test_a_key_and_a_certificate_of_two_authorities_are_refused(tmp_path: Path) -> None:
    Authority.create("europe").save(tmp_path)
    (tmp_path / "ca.crt").write_bytes(Authority.create("europe").cert_pem)
    with pytest.raises(Invalid, match="belong together"):
        Authority.load(tmp_path)


@pytest.mark.parametrize("uris", [[], ["coalition://europe/member/one", "coalition://europe/member/two"]])
def test_a_certificate_that_names_no_party_or_two_names_nobody(uris: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("one"), *map(x509.UniformResourceIdentifier, uris)]
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())
    with pytest.raises(Invalid, match="parties"):
        party_of(certificate.public_bytes(serialization.Encoding.PEM))


def test_a_certificate_without_any_alternative_name_names_nobody() -> None:
    with pytest.raises(Invalid, match="no party"):
        party_of(Authority.create("europe").cert_pem)
