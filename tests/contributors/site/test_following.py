"""What a site knows of its own datasets follows from the ledger's signed statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from contributors.packing import list_dataset
from contributors.site.following import Following
from protos.documents.submissions import Withdrawal
from tests.contributors.served import Hub, dataset


@pytest.fixture
def core(hub: Hub) -> Iterator[Coalition]:
    with Coalition(hub.home("Core Team", "core")) as core:
        yield core


def submit(client: Coalition, tmp_path: Path, name: str, **changes: object) -> str:
    """A private dataset of one letter: its manifest alone is sent."""
    folder = tmp_path / f"{client.identity.id}-{name}"
    folder.mkdir()
    (folder / "letter.txt").write_text(f"A letter about {name}.")
    manifest = dataset(client, list_dataset(folder), name=name, category="private", **changes)
    return client.submit(client.sign(manifest), {}, lambda count: None).id


def withdraw(client: Coalition, submission: str) -> None:
    claim = Withdrawal(hub=client.identity.hub, signer=client.identity.id, submission=submission)
    client.withdraw(client.sign(claim))


def gone(following: Following) -> dict[str, str]:
    return {dataset.id: dataset.gone for dataset in following.look().datasets}


def test_our_own_datasets_are_known_as_they_come_and_go(hub: Hub, client: Coalition, tmp_path: Path) -> None:
    following = Following(client)
    assert gone(following) == {}
    with Coalition(hub.home("University")) as other:
        submit(other, tmp_path, "theirs")
    ours = submit(client, tmp_path, "ours", jurisdiction=["NL", "DE"])
    (found,) = following.look().datasets
    assert (found.id, found.category, found.jurisdiction, found.gone) == (ours, "private", ("NL", "DE"), "")
    assert found.files == tuple(file.digest for file in client.submission(ours).files)
    withdraw(client, ours)
    assert gone(following) == gone(Following(client)) == {ours: f"{ours} was withdrawn"}


def test_what_a_thief_declared_in_our_name_counts_no_more(client: Coalition, home: Home, tmp_path: Path) -> None:
    following = Following(client)
    mine = submit(client, tmp_path, "mine")
    forged = submit(client, tmp_path, "forged")
    index = client.receipt(forged).index
    assert gone(following) == {mine: "", forged: ""}
    keychain.revoke(client, "", index, "laptop stolen")
    assert gone(following) == {mine: "", forged: f"{forged} was signed with a key that was revoked"}


def test_the_core_team_may_withdraw_and_another_member_may_not(
    hub: Hub, client: Coalition, core: Coalition, tmp_path: Path
) -> None:
    ours = submit(client, tmp_path, "ours")
    following = Following(client)
    with Coalition(hub.home("University")) as other:
        claim = Withdrawal(hub=other.identity.hub, signer=other.identity.id, submission=ours)
        following.look()
        assert not following._may_withdraw(claim)
    claim = Withdrawal(hub=core.identity.hub, signer=core.identity.id, submission=ours)
    hub.base.journal.record(core.sign(claim).envelope, core.identity.id)
    assert gone(following) == {ours: f"{ours} was withdrawn"}
