"""`coalition-hub` as its operator meets it: one sentence for a mistake, JSON on request, an example for every command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trust.invitations import Invitation


def hub(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hub.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hub") / "hub"
    done = hub("init", directory, "--name", "europe", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["address"] == "127.0.0.1:9090"
    return directory


def beside(made: Path, name: str, setting: str) -> None:
    """A hub that never served, with another line in its settings."""
    other = Path(f"{made}-{name}")
    other.mkdir(exist_ok=True)
    lines = [line for line in (made / "hub.toml").read_text().splitlines() if not line.startswith("database")]
    (other / "hub.toml").write_text("\n".join([*lines, setting]))


@pytest.mark.parametrize("command", ["init", "serve", "invite", "node", "rebuild", "dump", "screen", "purge", "scrub"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = hub(command, "--help")
    assert done.returncode == 0
    assert "Example: coalition-hub" in done.stdout


def test_the_authority_changes_and_says_so_as_json(tmp_path: Path) -> None:
    hub("init", tmp_path / "hub", "--name", "europe")
    rotated = json.loads(hub("authority", "rotate", tmp_path / "hub", "--json").stdout)
    assert set(rotated) == {"present", "present_since", "next", "next_since"}
    retired = json.loads(hub("authority", "retire", tmp_path / "hub", "--at-once", "--json").stdout)
    assert retired == {"present": rotated["next"], "present_since": rotated["next_since"]}


def test_an_invitation_carries_what_a_client_needs(made: Path) -> None:
    done = hub("invite", made, "--organisation", "Law Institute", "--json")
    invited = json.loads(done.stdout)
    assert (invited["id"], invited["role"]) == ("law-institute", "contributor")
    assert Invitation.decode(invited["token"]).port == 9091
    plain = hub("invite", made, "--organisation", "Core Team", "--node", "gpu-1")
    assert Invitation.decode(plain.stdout.strip()).port == 9091
    assert "coalition-hub node" in plain.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("init", "{made}", "--name", "asia"), "holds a hub already"),
        (("init", "{made}-never", "--name", "UPPER"), "name: must be 3 to 63 lower-case letters"),
        (("init", "{made}-never", "--name", "asia", "--bind", "300.1.1.1"), "bind: is neither an address"),
        (("init", "{made}-never", "--name", "asia", "--host", "a b"), "host: is neither an address"),
        (("serve", "/nowhere"), "coalition-hub init"),
        (("scrub", "/nowhere"), "coalition-hub init"),
        (("scrub", "{made}"), "There is no ledger"),
        (("scrub", "{made}", "--restore-from", "/nowhere"), "There is no mirror"),
        (("invite", "{made}", "--organisation", "X Y Z", "--role", "king"), "is not a role"),
        (("invite", "{made}", "--organisation", "!"), "too short"),
        (("invite", "{made}", "--organisation", "Law", "--days", "0"), "cannot hold for 0 days"),
        (("invite", "{made}", "--organisation", "Law", "--days", "-3"), "cannot hold for -3 days"),
        (("invite", "{made}", "--organisation", "Law", "--days", "nan"), "cannot hold for nan days"),
        (("rebuild", "{made}"), "There is no ledger"),
        (("dump", "{made}-other"), "The database holds nothing yet"),
        (("dump", "{made}-nowhere"), "The database cannot be opened"),
        (("dump", "{made}-damaged"), "hub.toml: quota_opn: is not known here"),
        (("node", "{made}-never", "--hub", "127.0.0.1:1", "--name", "gpu-1"), "not enrolled"),
    ],
)
def test_mistakes_are_one_sentence_and_end_with_1(made: Path, words: tuple[str, ...], sentence: str) -> None:
    for name, more in (("other", ""), ("nowhere", 'database = "sqlite:////nowhere/x"'), ("damaged", "quota_opn = 1")):
        beside(made, name, more)
    done = hub(*(word.format(made=made) for word in words))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path(f"{made}-never", "hub.toml").exists()


def test_wrong_usage_ends_with_2() -> None:
    assert hub("init").returncode == 2
    assert hub("invite").returncode == 2


def test_groups_show_an_example_too() -> None:
    for words in ((), ("authority",)):
        assert "Example: coalition-hub" in hub(*words, "--help").stdout


def test_names_are_never_read_as_markup(tmp_path: Path) -> None:
    done = hub("init", tmp_path / "[bold]x[", "--name", "europe")
    assert done.returncode == 0
    assert "[bold]x[" in done.stdout
