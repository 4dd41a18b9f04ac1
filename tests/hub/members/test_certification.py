"""Certificates: for keys that are nobody else's, to who proves the artifact key, no longer than what they stand on."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlmodel import select

from hub.members.certification import MEMORY, Certification
from hub.members.tables import TlsKeyRow
from protos.documents.base import rfc3339
from protos.documents.members import Delegation
from protos.documents.standing import MAX_DELEGATES
from protos.documents.statements import sign
from protos.transport.renewal import accept, prove
from tests.hub.conftest import ORIGIN, Base, make_authorities
from trust.certificates import Authority, Party, new_client_request
from trust.errors import Denied
from trust.keys import ArtifactKey
from trust.presented import read_client_certificate


@pytest.fixture
def certification(base: Base) -> Certification:
    base.enrol("law-institute")
    base.enrol("university")
    return base.certification(make_authorities(base.directory))


def delegation(base: Base, hours: float) -> tuple[str, ArtifactKey, dt.datetime]:
    robot = ArtifactKey.generate()
    ends = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).replace(microsecond=0)
    ours = {"hub": ORIGIN, "signer": "law-institute", "name": "robot", "key": robot.public.pem().decode()}
    claim = Delegation.read({**ours, "kinds": ["dataset"], "budget": 1, "expires_at": rfc3339(ends)})
    return base.journal.record(sign(claim, base.keys["law-institute"], robot), "law-institute").id, robot, ends


def test_a_key_that_another_was_certified_for_meanwhile_is_refused(
    base: Base, certification: Certification, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look and the transaction that issues, somebody else was quicker with the same TLS key."""
    _, request = new_client_request("x")
    holders = {name: base.keys[name].public.keyid for name in ("law-institute", "university")}
    look = certification.check

    def too_early(request: bytes, kind: str, party: str) -> None:
        look(request, kind, party)
        if party == "law-institute":
            certification.issue(request, "member", "university", holders["university"])

    monkeypatch.setattr(certification, "check", too_early)
    with pytest.raises(Denied, match="in use already"):
        certification.issue(request, "member", "law-institute", holders["law-institute"])


def test_a_proof_is_for_one_party_one_key_and_one_request(base: Base, certification: Certification) -> None:
    key, (_, request), (_, other) = base.keys["law-institute"], new_client_request("x"), new_client_request("x")
    party = Party(ORIGIN, "member", "law-institute")
    good = prove(key, party, request)
    assert certification.prover(request, "member", "law-institute", good) == key.public.keyid
    for proof in (
        b"",
        prove(key, party, other),
        prove(base.keys["university"], party, request),
        prove(key, Party("asia", "member", "law-institute"), request),
        prove(key, Party(ORIGIN, "delegate", "law-institute"), request),
        prove(key, Party(ORIGIN, "member", "university"), request),
    ):
        with pytest.raises(Denied, match="signed for this certificate"):
            certification.prover(request, "member", "law-institute", proof)


def test_a_delegates_certificate_ends_with_its_delegation_at_the_latest(
    base: Base, certification: Certification
) -> None:
    """Also a renewed one, although the certificates of this hub hold for a week."""
    mandate, robot, ends = delegation(base, 5)
    for _ in range(2):
        _, request = new_client_request("robot")
        proof = prove(robot, Party(ORIGIN, "delegate", mandate), request)
        holder = certification.prover(request, "delegate", mandate, proof)
        issued = certification.issue(request, "delegate", mandate, holder)
        assert read_client_certificate(issued.certificate).expires == ends


def test_a_party_accepts_what_its_hub_certified_for_its_own_key_alone(base: Base, certification: Certification) -> None:
    """Authorities that the statement key did not sign, another hub's, another key's certificate: none of it is kept."""
    key, request = new_client_request("x")
    good = certification.issue(request, "member", "law-institute", base.keys["law-institute"].public.keyid)
    assert accept(good, key, ORIGIN, base.hub_key.public).certificate == good.certificate
    forged = type(good)()
    forged.CopyFrom(good)
    forged.authorities = Authority.create(ORIGIN).cert_pem
    for answer, mine, hub, statement_key, reason in (
        (forged, key, ORIGIN, base.hub_key.public, "did not sign"),
        (good, key, ORIGIN, ArtifactKey.generate().public, "did not sign"),
        (good, key, "asia", base.hub_key.public, "did not sign"),
        (good, new_client_request("x")[0], ORIGIN, base.hub_key.public, "another key than ours"),
    ):
        with pytest.raises(Denied, match=reason):
            accept(answer, mine, hub, statement_key)


def test_tls_keys_are_forgotten_long_after_their_last_certificate(base: Base, certification: Certification) -> None:
    now, days = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    ages = {"old": now - MEMORY - days, "recent": now - MEMORY + days}
    with base.database.session(writing=True) as session:
        for keyid, at in ages.items():
            session.add(TlsKeyRow(keyid=keyid, kind="member", party="university", expires_at=at.isoformat()))
    _, request = new_client_request("x")
    certification.issue(request, "member", "law-institute", base.keys["law-institute"].public.keyid)
    with base.database.session() as session:
        assert ages.keys() & set(session.exec(select(TlsKeyRow.keyid))) == {"recent"}


def test_a_member_has_so_many_delegations_at_a_time(base: Base, certification: Certification) -> None:
    for _ in range(MAX_DELEGATES):
        delegation(base, 1)
    with pytest.raises(Denied, match=f"has {MAX_DELEGATES} delegations"):
        delegation(base, 1)
