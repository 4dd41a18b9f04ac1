"""A reward policy's way in and out: signed whole, recorded like other submissions, with nothing to send."""

from __future__ import annotations

import pytest

from hub.ledger.grants import may_read
from hub.submissions import catalogue
from protos.documents.rewards import RewardPolicy
from protos.documents.submissions import Reward
from tests.hub.conftest import ORIGIN
from tests.hub.submissions.room import OTHERS, US, Room
from trust.errors import Conflict

POLICY = {
    "format": "coalition-reward/v1",
    "name": "short",
    "description": "Answers are short.",
    "rules": [{"name": "short", "check": {"how": "length", "most": 20}}],
}


def policy(signer: str = US, **changes: object) -> Reward:
    return Reward(hub=ORIGIN, signer=signer, policy=RewardPolicy.read(POLICY | changes))


def test_a_policy_is_recorded_whole_and_for_everybody_to_read(room: Room) -> None:
    draft = room.open(policy())
    assert room.intake.missing(draft) == []
    entry = room.intake.commit(draft)
    assert (entry.kind, entry.claim) == ("reward", draft.claim)
    with room.base.database.session() as session:
        (found,) = catalogue.rewards(session)
        assert may_read(session, entry.envelope, member=OTHERS)
        assert catalogue.tally(session) == {}
        assert catalogue.datasets(session) == []
    assert (found.id, found.payload, found.member, found.stands) == (entry.id, entry.payload, US, True)
    (finding,) = room.intake.findings(entry.id)
    assert finding.message == "A policy of 1 rule."


def test_a_members_name_stands_for_one_policy(room: Room) -> None:
    room.intake.commit(room.open(policy()))
    with pytest.raises(Conflict, match="submitted the reward short before"):
        room.intake.commit(room.open(policy(description="Something else.")))
    room.intake.commit(room.open(policy(OTHERS)))


def test_a_policy_that_was_withdrawn_stands_no_more(room: Room) -> None:
    entry = room.intake.commit(room.open(policy()))
    room.withdraw(US, entry.id)
    with room.base.database.session() as session:
        assert [found.stands for found in catalogue.rewards(session)] == [False]
    assert room.holdings().purged == {}
