"""What a site knows of its own datasets follows from the ledger's signed statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from contributors.packing import list_dataset
from contributors.site.budget import Recorded
from contributors.site.following import Following
from contributors.site.proving import Came, Models
from protos.documents.base import FileEntry
from protos.documents.campaigns import Campaign, CampaignSpec, Consent
from protos.documents.masking import Masks, Seat
from protos.documents.methods import LocalTraining
from protos.documents.models import Model
from protos.documents.privacy import Privacy
from protos.documents.statements import HUB
from protos.documents.submissions import Withdrawal
from tests.contributors.served import Hub, dataset
from trust.digests import digest_bytes


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


def test_our_rounds_in_campaigns_with_privacy_are_counted_as_the_ledger_has_them(
    hub: Hub, client: Coalition, core: Coalition
) -> None:
    """A round that we were left out of tells nothing of us, nor does one of a campaign that guarantees nothing."""
    privacy = Privacy(guarantee="central", clip=1, noise=2, delta=1e-6, maximum_epsilon=9)
    private, plain = (_opened(hub, core, given) for given in (privacy, None))
    following, ours = Following(client), {"member": client.identity.id}
    left_out = ours | {"examples": 0, "weight": 0, "excluded": "away"}
    for number, (campaign, part) in enumerate(
        [(private, ours), (plain, ours), (private, left_out), (private, ours)], 1
    ):
        hub.base.journal.sign_and_record(_model(client.identity.hub, campaign, number, part))
        following.look()
    assert following.recorded() == (Recorded(private, 2.0, 2),)


def test_what_our_campaigns_rounds_came_to_is_what_the_ledger_says_first(
    hub: Hub, client: Coalition, core: Coalition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the latest rounds, and of campaigns that we consented to alone."""
    monkeypatch.setattr("contributors.site.following.KEPT", 2)
    ours, others = _opened(hub, core, None), _opened(hub, core, None)
    claim = Consent(hub=client.identity.hub, signer=client.identity.id, campaign=ours, site_key=digest_bytes(b"ours"))
    hub.base.journal.record(client.sign(claim).envelope, client.identity.id)
    following, part = Following(client), {"member": client.identity.id}
    first = _model(client.identity.hub, ours, 1, part)
    twice = first.model_copy(update={"model": "tiny-1.9", "files": (first.files[0].model_copy(update={"size": 8}),)})
    for model in (first, twice, _model(client.identity.hub, others, 1, part)):
        hub.base.journal.sign_and_record(model)
    following.look()
    assert following.models() == Models(rounds=(Came(campaign=ours, round=1, files=first.files),))
    for number in (2, 3):
        hub.base.journal.sign_and_record(_model(client.identity.hub, ours, number, part))
    following.look()
    assert [each.round for each in following.models().rounds] == [2, 3]


def test_who_consented_to_a_sum_and_with_which_key_is_what_members_signed(
    hub: Hub, client: Coalition, core: Coalition
) -> None:
    """The newest consent of each counts; one that a thief signed does not."""
    following = Following(client)
    campaign = _opened(hub, core, None, masks=Masks())
    plain = _opened(hub, core, None)

    def consents(who: Coalition, key: bytes, where: str = campaign) -> int:
        claim = Consent(hub=who.identity.hub, signer=who.identity.id, campaign=where, site_key=digest_bytes(key))
        return hub.base.journal.record(who.sign(claim).envelope, who.identity.id).index

    with Coalition(hub.home("University")) as other:
        consents(client, b"ours", plain)
        consents(client, b"ours before")
        consents(client, b"ours")
        index = consents(other, b"theirs")
        following.look()
        ours = Seat(member=client.identity.id, site_key=digest_bytes(b"ours"))
        theirs = Seat(member=other.identity.id, site_key=digest_bytes(b"theirs"))
        assert following.peers().of(campaign) == {ours, theirs}
        assert following.peers().of(plain) == frozenset()
        keychain.revoke(other, "", index, "laptop stolen")
        following.look()
        assert following.peers().of(campaign) == {ours}


def _opened(hub: Hub, core: Coalition, privacy: Privacy | None, masks: Masks | None = None) -> str:
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=2,
        minimum_members=4,
        training=training,
        privacy=privacy,
        masks=masks,
        clip_norm=1.0 if masks else None,
    )
    claim = Campaign(hub=core.identity.hub, signer=core.identity.id, spec=spec)
    return hub.base.journal.record(core.sign(claim).envelope, core.identity.id).id


def _model(hub: str, campaign: str, number: int, part: dict[str, object]) -> Model:
    told = {"examples": 1, "weight": 1, "loss_first": 0, "loss_last": 0, "update_norm": 0, "withheld": True} | part
    file = FileEntry(path="model.safetensors", digest=digest_bytes(b"weights"), size=7)
    given = {"hub": hub, "signer": HUB, "model": f"tiny-1.{number}", "origin": "round", "source": campaign}
    more = {"payload": file.digest, "round": number, "parameters": 1, "architecture": "llama", "files": (file,)}
    return Model.read(given | more | {"contributions": (told,), "code_version": "test"})
