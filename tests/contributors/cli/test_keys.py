"""`coalition keys` and `coalition node`: what cannot be taken back is said first, and asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from contributors.cli import asking
from tests.contributors.cli.conftest import Coalition
from tests.contributors.served import Hub
from trust.errors import Conflict


def test_a_revocation_says_what_it_will_do_and_wants_a_yes(hub: Hub, coalition: Coalition) -> None:
    """Without arguments it would replace the present key: in a script nobody could say no."""
    home = hub.home("Law Institute").directory
    key = coalition("keys", "list", "--json", home=home).json["keys"][0]["key_id"]
    said = coalition("keys", "revoke", home=home)
    assert said.code == 1
    assert "Your key and your TLS key will be replaced" in said.err
    assert "Say --yes if it is meant." in said.err
    assert [each["valid"] for each in coalition("keys", "list", "--json", home=home).json["keys"]] == [True]
    said = coalition("keys", "revoke", "--yes", "--json", home=home)
    assert len(said.json["revocations"]) == 1
    keys = {each["key_id"]: each["valid"] for each in coalition("keys", "list", "--json", home=home).json["keys"]}
    assert (keys.pop(key), list(keys.values())) == (False, [True])


def test_the_digits_that_the_list_shows_name_a_key(hub: Hub, coalition: Coalition, tmp_path: Path) -> None:
    home = hub.home("Law Institute").directory
    made = coalition("keys", "delegate", tmp_path / "robot", "--kinds", "dataset", "--json", home=home)
    key = made.json and coalition("keys", "list", "--json", home=home).json["delegations"][0]["key"]["key_id"]
    assert f"{key[:16]} " in coalition("keys", "list", home=home).out
    said = coalition("keys", "revoke", key[:16], "--yes", home=home)
    assert (said.code, f"The key {key[:16]} will be disowned" in said.err) == (0, True)
    assert "revoked" in coalition("keys", "list", home=home).out


def test_the_core_team_revokes_a_node(hub: Hub, coalition: Coalition) -> None:
    core = hub.home("Core Team", "core").directory
    said = coalition("node", "revoke", "gpu-1", "--yes", home=core)
    assert (said.code, "There is no node gpu-1." in said.err) == (1, True)
    assert "The certificates of the node gpu-1 will count for nothing" in said.err


@pytest.mark.parametrize(("answer", "goes_on"), [(True, True), (False, False)])
def test_whoever_sits_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, answer: bool, goes_on: bool) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, err: answer)
    if goes_on:
        asking.make_sure("All is lost.", False)
        return
    with pytest.raises(Conflict, match="Nothing was done"):
        asking.make_sure("All is lost.", False)
