"""Enrolling, as it goes wrong: nothing is spent and nothing is written before it is clear that it can work."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.contributors.cli.conftest import Coalition
from tests.contributors.served import Hub
from trust.certificates import Authority
from trust.invitations import Invitation


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def enrol(coalition: Coalition, address: str, token: str, home: Path) -> tuple[int, str]:
    said = coalition("enrol", "--hub", address, "--token", token, home=home)
    return said.code, said.err


def test_a_wrong_port_spends_no_invitation_and_writes_nothing(
    hub: Hub, coalition: Coalition, nobody: str, tmp_path: Path
) -> None:
    token, home = hub.invite("Law Institute"), tmp_path / "law"
    code, told = enrol(coalition, nobody, token, home)
    assert (code, told) == (
        1,
        f"error No hub answers at {nobody}: nobody listens there. Check the address and that it runs.\n",
    )
    code, told = enrol(coalition, f"127.0.0.1:{hub.enrol_port}", token, home)
    assert (code, "not the one that members are served at" in told) == (1, True)
    assert not home.exists()
    assert enrol(coalition, f"127.0.0.1:{hub.port}", token, home)[0] == 0
    assert coalition("whoami", home=home).code == 0


def test_of_several_addresses_one_must_answer(hub: Hub, coalition: Coalition, nobody: str, tmp_path: Path) -> None:
    token, home = hub.invite("Law Institute"), tmp_path / "law"
    assert enrol(coalition, f"127.0.0.1:{hub.port},127.0.0.1:{hub.enrol_port}", token, home)[0] == 1
    assert enrol(coalition, f"{nobody},127.0.0.1:{hub.port}", token, home)[0] == 0


def test_whoever_is_refused_keeps_no_half_of_a_home(hub: Hub, coalition: Coalition, tmp_path: Path) -> None:
    address, home = f"127.0.0.1:{hub.port}", tmp_path / "law"
    invented = Invitation.create(hub.authorities.issuing.fingerprint, hub.enrol_port).encode()
    code, told = enrol(coalition, address, invented, home)
    assert (code, "unknown or was used already" in told) == (1, True)
    elsewhere = Invitation.create(Authority.create("other").fingerprint, hub.enrol_port).encode()
    code, told = enrol(coalition, address, elsewhere, home)
    assert (code, "not the one that the invitation names" in told) == (1, True)
    assert not home.exists()


def test_a_key_that_was_there_before_outlives_a_refusal(hub: Hub, coalition: Coalition, tmp_path: Path) -> None:
    from contributors.home import Home

    home = tmp_path / "law"
    key = Home(home).artifact_key().public.keyid
    invented = Invitation.create(hub.authorities.issuing.fingerprint, hub.enrol_port).encode()
    assert enrol(coalition, f"127.0.0.1:{hub.port}", invented, home)[0] == 1
    assert Home(home).artifact_key().public.keyid == key


def test_a_delegate_hears_whose_it_is_and_what_is_left(hub: Hub, coalition: Coalition, tmp_path: Path) -> None:
    law, robot = tmp_path / "law", tmp_path / "robot"
    enrol(coalition, f"127.0.0.1:{hub.port}", hub.invite("Law Institute"), law)
    made = coalition("keys", "delegate", robot, "--kinds", "dataset", "--budget", 1, "--days", 1, "--json", home=law)
    assert made.code == 0, made.err
    said = coalition("whoami", home=robot).out
    assert f"robot ({made.json['delegation']}) of law-institute" in said
    assert "dataset: 1 of 1 statement left, until 20" in said
    shown = coalition("whoami", "--json", home=robot).json
    assert (shown["id"], shown["delegation"]["used"], shown["delegation"]["kinds"]) == ("law-institute", 0, ["dataset"])
    assert "delegation" not in coalition("whoami", "--json", home=law).json
