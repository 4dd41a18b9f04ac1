"""Keys over the years: replaced, disowned, lent in part; the hub and whoever verifies its ledger judge alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from contributors.ledger import Verdict, verify_ledger
from contributors.packing import pack_dataset
from contributors.sources import StoreSource
from protos.documents import statements
from protos.documents.runs import Stop
from protos.documents.submissions import Dataset, Suite
from protos.transport.channel import Credentials
from protos.transport.renewal import is_due
from tests.contributors.served import Hub, dataset
from tests.hub.conftest import ORIGIN
from trust.certificates import new_client_request, party_uri
from trust.errors import Conflict, Denied, Unavailable
from trust.keys import ArtifactKey


def say(hub: Hub, client: Coalition, name: str, kind: type[Dataset] | type[Suite] = Dataset) -> int:
    """A statement of a dataset or suite, recorded as its commit would; its entry of the ledger."""
    file = {"path": "a.jsonl", "digest": hub.base.blobs.put(b"{}"), "size": 2}
    claim: dict[str, object] = {
        "hub": client.identity.hub,
        "signer": client.identity.id,
        "name": name,
        "domain": "law",
        "licence": "CC-BY-4.0",
    }
    if kind is Dataset:
        claim |= {"provenance": "a test", "rows": 1, "files": [file | {"rows": 1}]}
    else:
        claim |= {"version": "1", "files": [file, file | {"path": "b.jsonl"}]}
    return hub.base.journal.record(client.sign(kind.read(claim)).envelope, client.identity.id).index


def verify(hub: Hub, home: Home) -> Verdict:
    return verify_ledger(StoreSource(hub.base.directory), home.ledger_key(), home.statement_key(), None)


def test_a_key_is_replaced_and_what_the_old_one_signed_stays_valid(hub: Hub, client: Coalition, home: Home) -> None:
    old = home.artifact_key()
    say(hub, client, "first")
    new = keychain.rotate(client)
    assert home.artifact_key().public.keyid == new != old.public.keyid
    assert say(hub, client, "second") == 3
    assert verify(hub, home).problems == verify(hub, home).quarantined == []
    keys = client.keys()
    assert keys.version == 2
    assert [(key.since, key.until, key.valid) for key in keys.keys] == [(0, 2, False), (2, -1, True)]


def test_the_old_key_signs_nothing_more(hub: Hub, client: Coalition, home: Home) -> None:
    old = home.artifact_key()
    keychain.rotate(client)
    envelope = statements.sign(Stop(hub=client.identity.hub, signer=client.identity.id, target="run-0"), old)
    with pytest.raises(Denied, match="no valid signature"):
        hub.base.journal.record(envelope, client.identity.id)


def test_the_old_private_key_is_destroyed_unless_it_is_to_be_kept(hub: Hub, client: Coalition, home: Home) -> None:
    before = home.key_path.read_bytes()
    with home.key_path.open("rb") as held:
        keychain.rotate(client)
        assert set(held.read()) == {0}
    kept = home.artifact_key().public
    keychain.rotate(client, keep=True)
    (aside,) = (home.directory / "keys").glob("old-*.key")
    assert ArtifactKey.load(aside).public == kept
    assert all(before not in path.read_bytes() for path in home.directory.rglob("*") if path.is_file())
    assert [path.stat().st_mode & 0o077 for path in (aside, home.key_path)] == [0, 0]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_rotation_that_was_killed_between_two_steps_goes_on(
    hub: Hub, client: Coalition, home: Home, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the new key is on disk, after the hub recorded it, and before it took the old one's place."""

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    points = [
        "contributors.keychain.statements.sign",
        "contributors.keychain.keep_receipt",
        "contributors.keychain._swap",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(points[steps], die)
        with pytest.raises(Killed):
            keychain.rotate(client)
    new = ArtifactKey.load(home.next_key_path).public.keyid
    assert keychain.rotate(client) == new == home.artifact_key().public.keyid
    assert not home.next_key_path.exists()
    assert client.keys().version == 2
    assert say(hub, client, "after") == 2


def test_a_stolen_home_is_put_right_and_what_the_thief_said_is_quarantined(
    hub: Hub, client: Coalition, home: Home, tmp_path: Path
) -> None:
    say(hub, client, "mine")
    stolen = Home(tmp_path / "stolen")
    _copy(home, stolen)
    with Coalition(stolen) as thief:
        forged = say(hub, thief, "forged")
        keychain.revoke(client, "", forged, "laptop stolen")
        with pytest.raises(Denied, match="revoked"):
            thief.whoami()  # on the connection that was open
    with Coalition(stolen) as thief, pytest.raises(Denied, match="revoked"):
        thief.whoami()
    say(hub, client, "mine-again")
    verdict = verify(hub, home)
    assert verdict.problems == []
    (line,) = verdict.quarantined
    assert line.startswith(f"Entry {forged}: ")
    assert not (home.directory / "keys" / "revocation.json").exists()


@pytest.mark.parametrize("point", ["rotate", "_send"])
def test_a_revocation_that_was_killed_goes_on(
    hub: Hub, client: Coalition, home: Home, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = home.artifact_key().public.keyid
    with monkeypatch.context() as patch:
        patch.setattr(keychain, point, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            keychain.revoke(client, "", 1, "stolen")
    assert len(keychain.revoke(client, "", None, "again")) == 1
    keys = {key.key_id: key for key in client.keys().keys}
    assert keys[stolen].compromised_since == 1
    assert [key.valid for key in keys.values()] == [False, True]


def test_the_core_team_revokes_a_member_and_it_may_be_invited_again(hub: Hub, client: Coalition, home: Home) -> None:
    say(hub, client, "before")
    with Coalition(hub.home("Core Team", "core")) as core:
        assert client.whoami().id == "law-institute"
        keychain.revoke_member(core, "law-institute", "", None, "left the coalition")
        for call in (client.whoami, client.head, home.renew):
            with pytest.raises(Denied, match="revoked"):
                call()
        assert core.keys("law-institute").revoked
    again = hub.home("Law Institute", directory="again")
    with Coalition(again) as client_again:
        assert say(hub, client_again, "after") == 5
        assert client_again.whoami().id == "law-institute"
    with pytest.raises(Denied, match="revoked"):
        client.whoami()  # the old certificate does not come back to life
    assert verify(hub, again).problems == verify(hub, again).quarantined == []


def test_a_member_revokes_nobody_else(hub: Hub, client: Coalition) -> None:
    hub.home("University")
    with pytest.raises(Denied, match="its own keys alone"):
        keychain.revoke_member(client, "university", "", None, "spite")


def test_a_delegate_speaks_in_the_members_name_within_its_scope(
    hub: Hub, client: Coalition, home: Home, robot: Home
) -> None:
    assert robot.artifact_key().public != home.artifact_key().public
    with Coalition(robot) as ci:
        assert ci.whoami().id == "law-institute"
        say(hub, ci, "one")
        with pytest.raises(Denied, match="covers dataset, and not suite"):
            say(hub, ci, "suite", Suite)
        say(hub, ci, "two")
        with pytest.raises(Denied, match="budget"):
            say(hub, ci, "three")
        refused: list[Callable[[], object]] = [
            lambda: keychain.rotate(ci),
            lambda: keychain.revoke(ci, home.artifact_key().public.keyid, None, "x"),
            lambda: keychain.delegate(ci, robot.directory / "more", "more", ["dataset"], 1, 1),
            lambda: ci.prepare_release("m", "1"),
        ]
        for call in refused:
            with pytest.raises(Denied, match=r"A delegate for dataset may not (rotate|make|cut)"):
                call()
    (made,) = client.keys().delegations
    assert (made.name, made.used, made.budget) == ("nightly", 2, 2)
    assert verify(hub, home).problems == []


def test_a_delegate_submits_a_dataset_from_end_to_end(hub: Hub, client: Coalition, robot: Home, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("A contract.")
    packed = pack_dataset(tmp_path / "text.txt", tmp_path / "packed")
    with Coalition(robot) as ci:
        assert ci.policy().licences_allowed
        submitted = ci.submit(ci.sign(dataset(ci, packed)), packed.sources, lambda n: None)
    assert (submitted.member, submitted.state) == ("law-institute", "accepted")
    assert client.keys().delegations[0].used == 1


def test_a_delegate_that_was_revoked_is_cut(hub: Hub, client: Coalition, robot: Home) -> None:
    with Coalition(robot) as ci:
        ci.whoami()
        keychain.revoke(client, str(robot.identity().delegation), None, "done")
        with pytest.raises(Denied, match="revoked"):
            ci.whoami()
        with pytest.raises(Denied, match="revoked"):
            say(hub, ci, "late")


def test_what_nobody_could_delegate_is_refused(client: Coalition, tmp_path: Path) -> None:
    with pytest.raises(Denied, match="cannot delegate"):
        keychain.delegate(client, tmp_path / "one", "one", ["run"], 1, 1)
    with pytest.raises(Denied, match="expired"):
        keychain.delegate(client, tmp_path / "two", "two", ["dataset"], 1, -1)


def test_the_delegate_that_the_ledger_says_is_spent_is_found_without_a_hub(hub: Hub, home: Home, robot: Home) -> None:
    """A hub that lets a robot say more than it may is found out by whoever verifies the ledger."""
    hub.base.journal._checks["dataset"] = []
    with Coalition(robot) as ci:
        for name in ("one", "two", "three"):
            say(hub, ci, name)
    (problem,) = verify(hub, home).problems
    assert "budget" in problem


def _aged(hub: Hub, home: Home, days: float) -> None:
    """Give the home a certificate of a day's life that was issued some days ago."""
    key, request = new_client_request("law")
    uri, now = party_uri(ORIGIN, "member", home.identity().id), dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    authority = hub.authorities.issuing
    certificate = authority.issue_client(request, uri, 1, now=now)
    home.save_credentials(Credentials(authority.cert_pem, certificate, key))


def test_certificates_renew_themselves_when_a_third_of_their_life_is_left(hub: Hub, home: Home) -> None:
    _aged(hub, home, 0.6)
    before = home.credentials()
    with Coalition(home) as client:
        client.whoami()
        assert home.credentials() == before  # not yet
    _aged(hub, home, 0.7)
    before = home.credentials()
    with Coalition(home) as client:
        client.whoami()
    after = home.credentials()
    assert after.key != before.key
    assert not is_due(after)
    assert (home.directory / "tls" / "client.pem").stat().st_mode & 0o077 == 0


def test_who_stays_connected_renews_on_the_way(hub: Hub, home: Home, client: Coalition) -> None:
    _aged(hub, home, 0.7)
    client._credentials = home.credentials()
    client.keep_fresh()
    assert not is_due(home.credentials())
    assert client.whoami().id == "law-institute"


def test_a_certificate_that_is_due_is_used_as_it_is_while_the_hub_is_away(hub: Hub, home: Home) -> None:
    _aged(hub, home, 0.7)
    before = home.credentials()
    hub.stop()
    with Coalition(home):
        pass
    assert home.credentials() == before
    hub.start()


def test_who_was_away_too_long_comes_back_by_another_invitation_and_the_same_key(hub: Hub, home: Home) -> None:
    _aged(hub, home, 2)
    for call in (lambda: Coalition(home), home.renew):
        with pytest.raises(Unavailable, match="Your certificate expired at") as told:
            call()
        assert "coalition keys renew --token" in told.value.todo
    thief = Home(home.directory.with_name("thief"))
    _copy(home, thief)
    ArtifactKey.generate().save(thief.key_path)
    home.renew_by(hub.invite("Law Institute"))
    with Coalition(home) as client:
        assert client.whoami().id == "law-institute"
    with pytest.raises(Conflict, match="another key"):
        thief.renew_by(hub.invite("Law Institute"))
    with pytest.raises(Conflict, match="changes no role"):
        hub.invite("Law Institute", "core")


def test_who_lives_before_the_certificate_is_told_to_set_the_clock(hub: Hub, home: Home) -> None:
    _aged(hub, home, -2)
    with pytest.raises(Unavailable, match="Your certificate holds from") as told:
        Coalition(home)
    assert told.value.todo == "Set this machine's clock."


def _copy(home: Home, other: Home) -> None:
    for path in home.directory.rglob("*"):
        if path.is_file():
            target = other.directory / path.relative_to(home.directory)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(path.stat().st_mode)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
