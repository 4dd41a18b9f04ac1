"""Campaigns in the ledger: what is admitted, and what the tables then say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hub.database import Database
from hub.rounds import projection, standings
from hub.rounds.projection import existing
from hub.rounds.tables import SiteRow
from protos.documents.base import FileEntry
from protos.documents.campaigns import Campaign, CampaignEnd, CampaignSpec, Consent, Hold
from protos.documents.methods import LocalTraining, Rewards
from protos.documents.models import Contribution, Model
from protos.documents.privacy import Privacy
from protos.documents.runs import Stop
from protos.documents.statements import HUB, sign
from protos.documents.submissions import Reward, Withdrawal
from trust.digests import digest_bytes
from trust.errors import Conflict, Denied, Invalid, NotFound
from trust.statements import payload_digest

if TYPE_CHECKING:
    from hub.ledger.entries import Entry

ORIGIN = "test-hub"
KEY = digest_bytes(b"a key")
FILE = FileEntry(path="model.safetensors", digest=digest_bytes(b"weights"), size=7)


@pytest.fixture
def spec() -> CampaignSpec:
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    return CampaignSpec(name="rounds", base_model="tiny-1", rounds=2, minimum_members=1, training=training)


@pytest.fixture
def campaign(base: Any, spec: CampaignSpec) -> str:
    """An open campaign of the core team, on a recorded base model, with a contributor called law."""
    projection.register(base.journal)
    base.enrol("core", "core")
    base.enrol("law")
    base.journal.sign_and_record(model("tiny-1", None, origin="run", source="run-0", round=0))
    entry: Entry = base.record(Campaign(hub=ORIGIN, signer="core", spec=spec))
    return entry.id


def model(name: str, parent: str | None, **more: Any) -> Model:
    return Model.read(
        {
            "hub": ORIGIN,
            "signer": HUB,
            "model": name,
            "parent": parent,
            "payload": digest_bytes(b"source"),
            "parameters": 10,
            "architecture": "llama",
            "files": (FILE,),
            "code_version": "test",
            **more,
        }
    )


def consent(campaign: str, member: str = "law") -> Consent:
    return Consent(hub=ORIGIN, signer=member, campaign=campaign, site_key=KEY)


def register_key(database: Database, member: str) -> None:
    with database.session(writing=True) as session:
        session.add(SiteRow(digest=KEY, member=member, public_key="key"))


def test_a_campaign_needs_a_model_to_start_from(base: Any, campaign: str, spec: CampaignSpec) -> None:
    with pytest.raises(NotFound):
        base.record(Campaign(hub=ORIGIN, signer="core", spec=spec.model_copy(update={"base_model": "other-1"})))


def test_a_campaign_promises_what_its_rounds_keep_and_spending_follows_from_them(
    base: Any, campaign: str, spec: CampaignSpec
) -> None:
    def promising(maximum: float) -> Campaign:
        privacy = Privacy(guarantee="central", clip=1, noise=1, delta=1e-5, maximum_epsilon=maximum)
        return Campaign(hub=ORIGIN, signer="core", spec=spec.model_copy(update={"privacy": privacy}))

    with pytest.raises(Invalid, match=r"cost epsilon 6\.573"):
        base.record(promising(6))
    private_campaign = base.record(promising(7)).id
    part = Contribution(member="law", examples=3, weight=1, loss_first=0, loss_last=0, update_norm=0, withheld=True)
    for where, name in ((campaign, "tiny-1.1"), (private_campaign, "tiny-1.2")):
        base.journal.sign_and_record(
            model(name, "tiny-1", round=1, origin="round", source=where, contributions=(part,))
        )
    with base.database.session() as session:
        (spent,) = standings.spending(session, existing(session, private_campaign))
        assert standings.spending(session, existing(session, campaign)) == ()
    assert (spent.member, spent.rounds, spent.rounds_without) == ("law", 1, 1)
    assert spent.epsilon == spent.epsilon_everywhere == pytest.approx(4.377178, rel=1e-6)


def test_a_campaign_learns_by_policies_that_stand_alone(base: Any, campaign: str, spec: CampaignSpec) -> None:
    rules = ({"name": "short", "check": {"how": "length", "most": 20}},)
    written = {"format": "coalition-reward/v1", "name": "short", "description": "Be short.", "rules": rules}
    policy = Reward.read({"hub": ORIGIN, "signer": "law", "policy": written})
    payload = payload_digest(sign(policy, base.keys["law"]))
    rewards = Rewards(policies=(payload,), max_new_tokens=8, group=2)
    training = spec.training.model_copy(update={"batch_size": 2})
    learning = spec.model_copy(update={"objective": "grpo", "rewards": rewards, "training": training})
    with pytest.raises(NotFound, match=f"the digest {payload}"):
        base.record(Campaign(hub=ORIGIN, signer="core", spec=learning))
    entry = base.record(policy)
    base.record(Campaign(hub=ORIGIN, signer="core", spec=learning))
    base.record(Withdrawal(hub=ORIGIN, signer="law", submission=entry.id))
    with pytest.raises(NotFound, match=f"the digest {payload}"):
        base.record(Campaign(hub=ORIGIN, signer="core", spec=learning.model_copy(update={"name": "another"})))


def test_a_consent_needs_a_key_that_its_signer_registered(base: Any, campaign: str) -> None:
    with pytest.raises(Denied):
        base.record(consent(campaign))
    register_key(base.database, "medicine")
    with pytest.raises(Denied):
        base.record(consent(campaign))


def test_who_has_no_expert_of_its_own_to_train_takes_no_part(base: Any, campaign: str, spec: CampaignSpec) -> None:
    own = {**dict(spec), "trainable": "experts", "experts": {"own": {"medicine": [0]}}}
    opened = base.record(Campaign(hub=ORIGIN, signer="core", spec=CampaignSpec.read(own)))
    base.enrol("medicine")
    register_key(base.database, "medicine")
    base.record(consent(opened.id, "medicine"))
    with pytest.raises(Denied, match="names no expert of law's own"):
        base.record(consent(opened.id, "law"))


def test_rounds_are_done_one_after_the_other(base: Any, campaign: str, reopen: Callable[[Database], Any]) -> None:
    register_key(base.database, "law")
    base.record(consent(campaign))
    part = Contribution(member="law", examples=3, weight=1, loss_first=2, loss_last=1, update_norm=0.1)
    rounds = {"origin": "round", "source": campaign, "contributions": (part,)}
    with pytest.raises(Conflict):
        base.journal.sign_and_record(model("tiny-1.2", "tiny-1", round=2, **rounds))
    base.journal.sign_and_record(model("tiny-1.1", "tiny-1", round=1, **rounds))
    with pytest.raises(Conflict):
        base.journal.sign_and_record(model("tiny-1.9", "tiny-1", round=1, **rounds))
    with base.database.session() as session:
        standing = standings.standing(session, base.blobs, existing(session, campaign))
        (done,) = standings.rounds(session, campaign)
    assert (standing.consents, standing.done) == (1, 1)
    assert (done.model, done.contributions[0]["member"]) == ("tiny-1.1", "law")


def test_a_stop_is_known_and_an_end_is_final(base: Any, campaign: str) -> None:
    register_key(base.database, "law")
    base.record(Stop(hub=ORIGIN, signer="core", target=campaign, why="enough"))
    with base.database.session() as session:
        assert [each.stop for each in standings.open_standings(session, base.blobs)] == ["enough"]
    end = {"hub": ORIGIN, "signer": HUB, "campaign": campaign, "outcome": "stopped", "reason": "enough"}
    base.journal.sign_and_record(CampaignEnd.read(end))
    with base.database.session() as session:
        assert standings.open_standings(session, base.blobs) == []
    for late in (consent(campaign), Stop(hub=ORIGIN, signer="core", target=campaign, why="again")):
        with pytest.raises(Conflict):
            base.record(late)
    with pytest.raises(Conflict):
        base.journal.sign_and_record(CampaignEnd.read({**end, "outcome": "finished"}))


def hold(campaign: str, turn: int, state: str, signer: str = "core") -> Hold:
    return Hold.read(
        {"hub": ORIGIN, "signer": signer, "campaign": campaign, "turn": turn, "state": state, "why": f"turn {turn}"}
    )


def test_a_campaign_is_paused_and_resumed_in_turn_and_ends_all_the_same(base: Any, campaign: str) -> None:
    def held() -> list[str]:
        with base.database.session() as session:
            return [each.held for each in standings.open_standings(session, base.blobs)]

    with pytest.raises(Conflict, match="not paused"):
        base.record(hold(campaign, 1, "resumed"))
    base.record(hold(campaign, 1, "paused"))
    assert held() == ["turn 1"]
    for late in (hold(campaign, 2, "paused"), hold(campaign, 1, "resumed")):
        with pytest.raises(Conflict):
            base.record(late)
    base.record(hold(campaign, 2, "resumed"))
    assert held() == [""]
    base.record(hold(campaign, 3, "paused"))
    end = {"hub": ORIGIN, "signer": HUB, "campaign": campaign, "outcome": "stopped", "reason": "enough"}
    base.journal.sign_and_record(CampaignEnd.read(end))
    assert held() == []
    with pytest.raises(Conflict, match="stopped already"):
        base.record(hold(campaign, 4, "resumed"))


def test_the_core_team_alone_pauses(base: Any, campaign: str) -> None:
    with pytest.raises(Denied):
        base.record(hold(campaign, 1, "paused", signer="law"))


def test_a_database_that_was_lost_says_the_same_again(
    base: Any, campaign: str, reopen: Callable[[Database], Any], tmp_path: Any
) -> None:
    register_key(base.database, "law")
    base.record(consent(campaign))
    base.record(hold(campaign, 1, "paused"))
    base.journal.stop()
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    fresh.migrate()
    other = reopen(fresh)
    projection.register(other.journal)
    other.journal.start()
    with base.database.session() as before, fresh.session() as after:
        assert standings.standing(after, base.blobs, existing(after, campaign)) == standings.standing(
            before, base.blobs, existing(before, campaign)
        )
