"""A member's home: private keys private, enrolled whole or not at all, statements that are said once."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from contributors.home import Home
from protos.coalition.v1 import common_pb2
from protos.documents.runs import Stop
from protos.documents.statements import read
from protos.transport.channel import Credentials
from protos.transport.enrolment import Enrolled
from trust.errors import Conflict, Denied, Invalid, NotFound
from trust.keys import ArtifactKey, LogKey
from trust.notes import TreeHead, sign_tree_head
from trust.statements import verify_statement

LOG = LogKey.generate("test-hub")
ENROLLED = Enrolled(
    id="law-institute",
    hub="test-hub",
    organisation='Law "Institute" \\ 😀\n',
    role="contributor",
    ledger_key=LOG.public.encode(),
    statement_key=ArtifactKey.generate().public.pem(),
    receipt=common_pb2.Receipt(),
    credentials=Credentials(b"ca", b"-----BEGIN CERTIFICATE-----\n", b"key\n"),
)
STOP = Stop(hub="test-hub", signer="law-institute", target="run-0123456789ab")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.save_enrolment(ENROLLED, "127.0.0.1:9090")
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_enrolment_gave_is_read_back_whatever_the_organisation_is_called(home: Home) -> None:
    identity = home.identity()
    assert (identity.id, identity.organisation, identity.address) == (
        ENROLLED.id,
        ENROLLED.organisation,
        "127.0.0.1:9090",
    )
    assert home.credentials() == ENROLLED.credentials
    assert home.ledger_key() == LOG.public
    assert home.statement_key().pem() == ENROLLED.statement_key


def test_private_keys_are_for_their_owner_alone(home: Home) -> None:
    home.artifact_key()
    assert mode(home.directory / "keys" / "artifact.key") == 0o600
    assert mode(home.directory / "tls" / "client.pem") == 0o600
    assert mode(home.directory / "keys") == 0o700


def test_a_key_that_others_can_read_is_not_used(home: Home) -> None:
    home.artifact_key()
    (home.directory / "keys" / "artifact.key").chmod(0o644)
    with pytest.raises(Denied, match="can be read by others"):
        home.artifact_key()


def test_the_artifact_key_is_made_once(home: Home) -> None:
    assert home.artifact_key().public == home.artifact_key().public


def test_a_home_is_enrolled_once(home: Home) -> None:
    with pytest.raises(Conflict, match="enrolled already"):
        home.save_enrolment(ENROLLED, "127.0.0.1:9090")


def test_an_empty_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        Home(tmp_path).identity()
    assert "coalition enrol" in caught.value.todo


def test_a_damaged_identity_is_named(home: Home) -> None:
    (home.directory / "coalition.toml").write_text("hub = [")
    with pytest.raises(Invalid, match=r"coalition\.toml is damaged"):
        home.identity()
    (home.directory / "coalition.toml").write_text('hub = "test-hub"\n')
    with pytest.raises(Invalid, match=r"coalition\.toml: [a-z_]+: is missing"):
        home.identity()


def test_the_default_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COALITION_HOME", str(tmp_path / "elsewhere"))
    assert Home.default().directory == tmp_path / "elsewhere"
    monkeypatch.delenv("COALITION_HOME")
    assert Home.default().directory == Path.home() / ".coalition"


def test_saying_the_same_again_gives_the_same_statement(home: Home) -> None:
    first = home.statement(STOP)
    later = STOP.model_copy(update={"issued_at": "2030-01-01T00:00:00.000Z"})
    assert home.statement(later) == first
    assert home.statement(STOP.model_copy(update={"why": "other"})) != first
    verify_statement(first, home.artifact_key().public)


def test_what_was_forgotten_is_said_anew(home: Home) -> None:
    first = home.statement(STOP)
    home.forget_statement(STOP)
    assert home.statement(STOP) != first


def test_a_damaged_statement_is_signed_again(home: Home) -> None:
    home.statement(STOP)
    (path,) = (home.directory / "statements").iterdir()
    path.write_bytes(b"{")
    assert read(home.statement(STOP)).claim == STOP


def test_the_known_tree_head_is_verified_when_read(home: Home) -> None:
    assert home.known_head() is None
    head = TreeHead("test-hub", 1, b"\1" * 32)
    home.remember_head(sign_tree_head(head, LOG))
    assert home.known_head() == head
    home.remember_head(sign_tree_head(head, LogKey.generate("test-hub")))
    with pytest.raises(Denied):
        home.known_head()


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "x" * 200, "a\n"])
def test_a_receipt_is_never_kept_elsewhere(home: Home, name: str) -> None:
    with pytest.raises(Invalid, match="cannot name a receipt"):
        home.save_receipt(name, b"leaf", b"proof")
