"""Whose a SuperNode's key is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from contributors.site.keys import site_key
from hub.database import Database
from hub.rounds import sites
from hub.rounds.tables import SiteRow
from protos.documents.campaigns import site_challenge
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Unavailable


def test_the_hub_and_the_site_mean_the_same_key(tmp_path: Path) -> None:
    key = site_key(tmp_path)
    assert digest_bytes(sites.read_public_key(key.public_line)) == key.digest


@pytest.mark.parametrize("line", [b"", b"ssh-rsa AAAA", b"\xff" * 100, b"ecdsa-sha2-nistp384 !!!!", b"a" * 5000])
def test_what_is_no_key_is_refused(line: bytes) -> None:
    with pytest.raises(Invalid):
        sites.read_public_key(line)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()])
def test_other_kinds_of_keys_are_refused(key: ec.EllipticCurvePrivateKey) -> None:
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    with pytest.raises(Invalid, match="P-384"):
        sites.read_public_key(line)


def test_a_key_belongs_to_the_member_that_registered_it(database: Database, tmp_path: Path) -> None:
    public_key = sites.read_public_key(site_key(tmp_path).public_line)
    for _ in range(2):
        with database.session(writing=True) as session:
            sites.claim_key(session, "law", public_key)
    with pytest.raises(Denied), database.session(writing=True) as session:
        sites.claim_key(session, "medicine", public_key)
    with database.session() as session:
        row = session.get(SiteRow, digest_bytes(public_key))
        assert row is not None
        assert row.member == "law"


def test_a_key_that_was_given_up_is_registered_by_nobody_again(database: Database, tmp_path: Path) -> None:
    public_key = sites.read_public_key(site_key(tmp_path).public_line)
    with database.session(writing=True) as session:
        session.add(SiteRow(digest=digest_bytes(public_key), member="", public_key=public_key.decode()))
    with pytest.raises(Denied, match="given up"), database.session(writing=True) as session:
        sites.claim_key(session, "law", public_key)


def test_a_key_is_registered_by_who_holds_it_alone(tmp_path: Path) -> None:
    nonces, mine, theirs = sites.Nonces(), site_key(tmp_path / "mine"), site_key(tmp_path / "theirs")
    nonce = nonces.give("law")
    nonces.check("law", nonce)
    challenge = site_challenge("test-hub", "law", nonce, mine.digest)
    public_key = sites.read_public_key(mine.public_line)
    sites.check_possession(public_key, challenge, mine.sign(challenge))
    for wrong in (theirs.sign(challenge), mine.sign(b"another challenge"), b"", b"\xff" * 100):
        with pytest.raises(Denied, match="nobody showed"):
            sites.check_possession(public_key, challenge, wrong)


def test_a_nonce_is_one_members_and_the_hubs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = sites.Nonces()
    nonce = nonces.give("law")
    for member, wrong in (("medicine", nonce), ("law", b""), ("law", nonce[:-1]), ("law", sites.Nonces().give("law"))):
        with pytest.raises(Unavailable):
            nonces.check(member, wrong)
    later = time.monotonic() + sites.NONCE_SECONDS + 2
    monkeypatch.setattr("hub.rounds.sites.time.monotonic", lambda: later)
    with pytest.raises(Unavailable, match="too long ago"):
        nonces.check("law", nonce)
