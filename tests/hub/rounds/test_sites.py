"""Whose a SuperNode's key is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from contributors.site.keys import site_key
from hub.database import Database
from hub.rounds import sites
from hub.rounds.tables import SiteRow
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid


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
