"""The contract of the command: what there is, how it helps, how it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from typer.main import get_command

from contributors.cli.main import app
from tests.contributors.cli.conftest import Coalition

CONTRACT = {
    *("enrol", "whoami", "leaderboard", "dashboard"),
    *("site start", "site sit-out", "site take-part", "site privacy"),
    *("data submit", "data list", "data show", "data policy", "data withdraw", "data tasks"),
    *("suite submit", "suite list", "suite show", "suite withdraw"),
    *("reward submit", "reward list", "reward show", "reward withdraw"),
    *("run plan", "run launch", "run list", "run show", "run watch", "run cancel"),
    *("campaign open", "campaign list", "campaign show", "campaign watch", "campaign join", "campaign stop"),
    *("campaign pause", "campaign resume"),
    *(
        "model list",
        "model show",
        "model lineage",
        "model download",
        "eval list",
        "eval show",
        "eval verify",
        "eval compare",
        "eval reproduce",
    ),
    *("release cut", "release list", "release verify", "release download"),
    *("ledger head", "ledger entries", "ledger verify", "ledger receipt"),
    *("ledger audit", "ledger mirror", "ledger compare"),
    *("keys list", "keys rotate", "keys revoke", "keys renew", "keys delegate"),
    *("node list", "node revoke"),
    *("witness start", "witness status", "witness policy", "witness proof"),
}
STAY = {"site start", "witness start", "dashboard"}
"""Commands that serve until they are stopped: they have no result to print as JSON."""


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def groups(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Group]]:
    yield prefix.strip(), group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, f"{prefix}{name} ")


GROUPS = dict(groups(get_command(app)))  # type: ignore[arg-type]
ALL = dict(commands(get_command(app)))  # type: ignore[arg-type]


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(ALL) == CONTRACT


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    command = ALL[name]
    assert command.help
    assert f"Example: coalition {name}" in (command.epilog or "")


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_every_group_explains_itself_with_an_example(name: str) -> None:
    assert GROUPS[name].help
    assert f"Example: coalition {name}".strip() in (GROUPS[name].epilog or "")


@pytest.mark.parametrize("name", sorted(CONTRACT - STAY))
def test_every_result_can_be_had_as_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[name].params)


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("data", "submit"),
        ("data", "submit", ".", "--name", "x"),
        ("enrol",),
        ("run", "launch", "a.toml", "--unknown"),
        ("ledger", "entries", "--start", "x"),
    ],
)
def test_wrong_usage_ends_with_2(coalition: Coalition, words: tuple[str, ...]) -> None:
    assert coalition(*words).code == 2


def test_without_enrolment_one_sentence_says_what_to_do(coalition: Coalition, tmp_path: Path) -> None:
    said = coalition("whoami", "--json")
    assert (said.code, said.out) == (1, "")
    assert said.err == f"error {tmp_path / 'nobody'} is not enrolled. Run `coalition enrol` with your invitation.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("enrol", "--hub", "nowhere", "--token", "x"), "'nowhere' is not an address. Write HOST:PORT."),
        (("enrol", "--hub", "h:1", "--token", "coalition-abc"), "The invitation token is incomplete or mistyped."),
        (("run", "launch", "missing.toml"), "There is no file missing.toml."),
        (("suite", "submit", "missing"), "There is no suite.json in missing."),
        (("release", "verify", "missing"), "is missing"),
    ],
)
def test_mistakes_are_one_sentence_and_end_with_1(coalition: Coalition, words: tuple[str, ...], sentence: str) -> None:
    said = coalition(*words)
    assert said.code == 1
    assert sentence in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = [", "spec.toml is not valid TOML"),
        ("name = 'x!'", "spec.toml: name: must be 3 to 63 lower-case letters"),
        ("name = 'tiny'\nsurprise = 1", "spec.toml: architecture: is missing"),
        ("\ud800", "spec.toml is not valid TOML"),
    ],
)
def test_a_wrong_spec_names_file_and_field(coalition: Coalition, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    said = coalition("run", "launch", path)
    assert said.code == 1
    assert sentence in said.err


def test_brackets_in_a_message_are_not_eaten_as_markup(coalition: Coalition) -> None:
    said = coalition("run", "launch", "dir[bold]x[/nothing].toml")
    assert "dir[bold]x[/nothing].toml" in said.err


def test_a_failure_of_the_disk_is_one_sentence_too(coalition: Coalition, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = coalition("whoami", home=tmp_path / "file")
    assert said.code == 1
    assert "Not a directory" in said.err


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    heavy = ("grpc", "pydantic", "cryptography", "google.protobuf", "torch", "streamlit")
    code = f"import sys, contributors.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
