"""A key was stolen at entry N, and its owner finds out later: whatever the thief did in between ends with the revocation."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import delete

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from contributors.ledger import Recorded
from contributors.standings import board_of
from hub.evaluation import store
from hub.ledger.tables import BlobGrant, LedgerEntry
from hub.members.tables import KeyRow, MemberRow
from hub.submissions import catalogue
from hub.submissions.tables import SubmissionRow
from protos.documents import statements
from protos.documents.evaluations import Evaluation, TaskScore
from protos.documents.members import Keys, Revocation
from protos.documents.submissions import Suite
from tests.contributors.served import Hub
from tests.contributors.test_keychain import _copy, say, verify
from tests.hub.conftest import ORIGIN
from trust.certificates import Party, new_client_request
from trust.errors import Conflict, Denied, Invalid, NotFound
from trust.keys import ArtifactKey


@pytest.fixture
def stolen(home: Home, tmp_path: Path) -> Home:
    """A copy of the whole home in a thief's hands."""
    found = Home(tmp_path / "stolen")
    _copy(home, found)
    return found


def states(client: Coalition) -> dict[str, str]:
    return {found.name: found.state for found in client.submissions("dataset")}


def test_a_key_that_was_replaced_since_the_theft_is_disowned_from_the_theft_on(
    hub: Hub, client: Coalition, home: Home
) -> None:
    """The owner rotated as a matter of course, and only then heard of the theft: both keys are covered."""
    say(hub, client, "before")
    first = home.artifact_key().public.keyid
    theft = say(hub, client, "by-the-first-key")
    second = keychain.rotate(client)
    say(hub, client, "by-the-second-key")
    assert len(keychain.revoke(client, "", theft, "stolen")) == 2
    say(hub, client, "after")
    keys = {key.key_id: key for key in client.keys().keys}
    assert [keys[keyid].compromised_since for keyid in (first, second)] == [theft, theft]
    verdict = verify(hub, home)
    assert verdict.problems == []
    assert len(verdict.quarantined) == 2
    assert states(client) == {
        "before": "accepted",
        "by-the-first-key": "quarantined",
        "by-the-second-key": "quarantined",
        "after": "accepted",
    }


def test_a_key_that_was_replaced_before_the_theft_stays_believed(hub: Hub, client: Coalition) -> None:
    say(hub, client, "by-the-first-key")
    keychain.rotate(client)
    theft = say(hub, client, "by-the-second-key")
    assert len(keychain.revoke(client, "", theft, "stolen")) == 1
    assert states(client)["by-the-first-key"] == "accepted"


def test_a_quarantined_dataset_is_used_for_nothing(hub: Hub, client: Coalition) -> None:
    """No run that names it, no run that takes whatever there is, no screening; a run that was launched before may know it."""
    good, theft = say(hub, client, "good"), say(hub, client, "forged")
    keychain.revoke(client, "", theft, "stolen")
    with hub.base.database.session() as session:
        kept, forged = catalogue.datasets(session)
        assert (kept.index, forged.index) == (good, theft)
        assert [dataset.id for dataset in catalogue.for_run(session, [])] == [kept.id]
        assert [dataset.id for dataset in catalogue.held(session)] == [kept.id]
        assert forged in catalogue.for_run(session, [], before=theft + 1)
        with pytest.raises(Invalid, match="quarantined"):
            catalogue.for_run(session, [forged.id])


def test_a_suite_that_a_thief_submitted_takes_no_other_ones_place(hub: Hub, client: Coalition, home: Home) -> None:
    """A newer version of the owner's suite hides the owner's until the theft is known, for the hub and for who audits it."""
    file = {"path": "a.jsonl", "digest": hub.base.blobs.put(b"{}"), "size": 2}
    values = {"hub": ORIGIN, "signer": "law-institute", "name": "exam", "domain": "law", "licence": "CC-BY-4.0"}
    values["files"] = [file, {**file, "path": "suite.json"}]
    mine, forged = (
        hub.base.journal.record(client.sign(Suite.read({**values, "version": version})).envelope, "law-institute")
        for version in ("1", "2")
    )
    keychain.revoke(client, "", forged.index, "stolen")
    told = hub.base.log.size - 1
    with hub.base.database.session() as session:
        assert list(store.current_suites(session, told)) == [forged.id]
        for size in (None, told + 1):
            assert list(store.current_suites(session, size)) == [mine.id]
        assert [suite.id for suite in store.current_suites(session).values() if suite.stands] == [mine.id]
    recorded = verify(hub, home).recorded
    assert [each.quarantined_at for each in recorded if each.leaf.kind == "suite"] == [None, told]
    scores = (TaskScore(task="t", metric="acc", value=1.0, standard_error=0.0, items=1),)
    for index, suite in enumerate((mine.id, forged.id), start=mine.index):
        claim = Evaluation.model_construct(model="m", suite=suite, scores=scores)
        recorded.append(Recorded(index, recorded[0].leaf, claim))
    assert {cell.index for cell in board_of(recorded, told).cells.values()} == {forged.index}
    assert {cell.index for cell in board_of(recorded, told + 1).cells.values()} == {mine.index}


def test_what_is_quarantined_follows_from_the_ledger_alone(hub: Hub, client: Coalition, robot: Home) -> None:
    """Replayed into another database, each submission is known by the key that signed it: the member's or the robot's."""
    say(hub, client, "mine")
    with Coalition(robot) as ci:
        theft = say(hub, ci, "by-the-robot")
    keychain.revoke(client, str(robot.identity().delegation), theft, "the robot was stolen")
    before = states(client)
    assert before == {"mine": "accepted", "by-the-robot": "quarantined"}
    with hub.base.database.session(writing=True) as session:
        for table in (SubmissionRow, LedgerEntry, BlobGrant, MemberRow, KeyRow):
            session.exec(delete(table))
    hub.base.journal.replay(hub.base.log.size)
    assert states(client) == before


def test_a_thief_who_renewed_the_certificate_is_cut_as_well(hub: Hub, client: Coalition, stolen: Home) -> None:
    """Its TLS key is one that the owner never saw; the owner's new one, which the revocation names, goes on."""
    stolen.renew()
    with Coalition(stolen) as thief:
        assert thief.whoami().id == "law-institute"
        keychain.revoke(client, "", hub.base.log.size, "stolen")
        with pytest.raises(Denied, match="revoked"):
            thief.whoami()
    for call in (stolen.renew, lambda: Coalition(stolen).whoami()):
        with pytest.raises(Denied, match="revoked"):
            call()
    assert client.whoami().id == "law-institute"
    client.home.renew()
    with Coalition(client.home) as again:
        assert again.whoami().id == "law-institute"


def test_what_the_thief_made_since_falls_with_the_key(
    hub: Hub, client: Coalition, stolen: Home, robot: Home, tmp_path: Path
) -> None:
    """A key beside the owner's, and a delegation: both are refused, and their statements quarantined; older ones stay."""
    theft, beside = hub.base.log.size, ArtifactKey.generate()
    with Coalition(stolen) as thief:
        helper = keychain.delegate(thief, tmp_path / "helper", "helper", ["dataset"], 5, 1)
        pems = [key.public.pem().decode() for key in (stolen.artifact_key(), beside)]
        claim = Keys.read({"hub": ORIGIN, "signer": "law-institute", "version": 2, "keys": pems})
        thief.change_keys(statements.sign(claim, stolen.artifact_key(), beside))
    with Coalition(helper) as ci:
        forged = say(hub, ci, "forged")
        keychain.revoke(client, "", theft, "stolen")
        with pytest.raises(Denied, match="revoked"):
            ci.whoami()
    with pytest.raises(Denied, match="replaced or revoked"):
        hub.base.journal.record(statements.sign(claim.model_copy(update={"version": 4}), beside), "law-institute")
    with Coalition(robot) as ci:
        say(hub, ci, "by-the-older-robot")
    verdict = verify(hub, client.home)
    assert verdict.problems == []
    assert [line.split(":")[0] for line in verdict.quarantined] == [f"Entry {forged}"]


def test_a_certificate_is_for_who_holds_the_artifact_key(client: Coalition, stolen: Home) -> None:
    """A thief with the TLS key alone may call as long as its certificate holds; it gets no other."""
    ArtifactKey.generate().save(stolen.key_path)
    with pytest.raises(Denied, match="signed for this certificate"):
        stolen.renew()
    assert client.whoami().id == "law-institute"


def test_nobody_is_certified_by_an_old_delegation_without_its_key(
    hub: Hub, client: Coalition, stolen: Home, robot: Home
) -> None:
    """Statements are public: whoever has the member's home could say an old delegation again, for a TLS key of its own."""
    envelope = (robot.directory / "delegation.dsse.json").read_bytes()
    _, request = new_client_request("robot")
    party = Party(ORIGIN, "delegate", str(robot.identity().delegation))
    with Coalition(stolen) as thief:
        for key in (stolen.artifact_key(), ArtifactKey.generate()):
            with pytest.raises(Denied, match="signed for this certificate"):
                thief.delegate(envelope, request, keychain.prove(key, party, request))
        assert thief.delegate(envelope, request, keychain.prove(robot.artifact_key(), party, request)).certificate


def test_a_key_that_is_revoked_while_its_renewal_is_under_way_gets_no_certificate(
    hub: Hub, client: Coalition, home: Home
) -> None:
    """Proved, then revoked, then certified: the last look is in the transaction that certifies."""
    certification = hub.base.certification(hub.authorities)
    _, request = new_client_request("law")
    party = Party(ORIGIN, "member", "law-institute")
    holder = certification.prover(request, "member", party.name, keychain.prove(home.artifact_key(), party, request))
    keychain.revoke(client, "", None, "stolen")
    with pytest.raises(Denied, match="meanwhile"):
        certification.issue(request, "member", party.name, holder)


def test_only_who_signs_keeps_keys_and_something_must_stay(hub: Hub, client: Coalition, home: Home) -> None:
    """A revocation that would leave nothing is refused, and one that keeps what it revokes says nothing."""
    key = home.artifact_key()
    claim = {"hub": ORIGIN, "signer": "law-institute", "member": "law-institute", "compromised_since": 0, "reason": "x"}
    with pytest.raises(Denied, match="No key of yours would be left"):
        client.change_keys(statements.sign(Revocation.read({**claim, "key": key.public.keyid}), key))
    for wrong in ({"key": key.public.keyid, "keeps": [key.public.keyid]}, {"keeps": [key.public.keyid]}):
        with pytest.raises(Invalid, match="Keeps what it revokes"):
            Revocation.read({**claim, **wrong})


def test_nobody_revokes_a_key_that_the_member_never_had(hub: Hub, client: Coalition) -> None:
    other = hub.home("University")
    for keyid in ("0" * 64, other.artifact_key().public.keyid, keychain._tls_keyid(other)):
        with pytest.raises(NotFound, match="has and had no key"):
            keychain.revoke(client, keyid, None, "x")


def test_a_revocation_that_says_nothing_new_is_refused(hub: Hub, client: Coalition, robot: Home) -> None:
    """Else a member could make the ledger, and what everyone reads of keys, as long as it likes."""
    lent, tls = str(robot.identity().delegation), keychain._tls_keyid(robot)
    keychain.revoke(client, lent, 1, "stolen")
    keychain.revoke(client, tls, 1, "stolen")
    size = hub.base.log.size
    for key, since in ((lent, 1), (lent, 2), (tls, 1), (tls, 0)):
        with pytest.raises(Conflict, match=f"disowned from entry {since} on already"):
            keychain.revoke(client, key, since, "again")
    assert hub.base.log.size == size
    keychain.revoke(client, lent, 0, "it was stolen earlier")


def test_a_key_is_named_by_its_first_digits(hub: Hub, client: Coalition, home: Home, robot: Home) -> None:
    keyid = robot.artifact_key().public.keyid
    with Coalition(hub.home("Core Team", "core")) as core:
        keychain.revoke_member(core, "law-institute", keyid[:16], None, "stolen")
    (made,) = client.keys().delegations
    assert (made.key.key_id, made.key.valid) == (keyid, False)
    with pytest.raises(NotFound, match="no key 'xyz'"):
        keychain.revoke(client, "xyz", None, "x")
    with pytest.raises(Conflict, match="2 keys of law-institute begin with"):
        keychain.find_key(client, "", "")


def test_a_delegation_that_was_refused_is_not_said_again(hub: Hub, client: Coalition, tmp_path: Path) -> None:
    """The first attempt asked for what cannot be; the second, in the same directory, asks for less and gets it."""
    with pytest.raises(Denied, match="cannot delegate"):
        keychain.delegate(client, tmp_path / "robot", "robot", ["run"], 1, 1)
    made = keychain.delegate(client, tmp_path / "robot", "robot", ["dataset"], 1, 1)
    assert made.enrolled
    assert [each.kinds for each in client.keys().delegations] == [["dataset"]]
    assert made.identity().delegation == client.keys().delegations[0].id


def test_a_delegation_that_a_replaced_key_signed_is_signed_anew(
    hub: Hub, client: Coalition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short before the hub saw it, then the key was rotated: refused once, and not for ever."""

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    ask = (client, tmp_path / "robot", "robot", ["dataset"], 1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(client, "delegate", cut)
        with pytest.raises(KeyboardInterrupt):
            keychain.delegate(*ask)
    keychain.rotate(client)
    with pytest.raises(Denied, match="replaced or revoked"):
        keychain.delegate(*ask)
    assert keychain.delegate(*ask).enrolled


def test_a_delegation_that_was_cut_short_goes_on_and_one_that_asks_for_more_is_another(
    hub: Hub, client: Coalition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for kinds in (["dataset"], ["dataset"], ["dataset", "suite"]):
        with monkeypatch.context() as patch:
            patch.setattr(Home, "save_enrolment", cut)
            with pytest.raises(KeyboardInterrupt):
                keychain.delegate(client, tmp_path / "robot", "robot", kinds, 1, 1)
    keychain.delegate(client, tmp_path / "robot", "robot", ["dataset", "suite"], 1, 1)
    assert [each.kinds for each in client.keys().delegations] == [["dataset"], ["dataset", "suite"]]
