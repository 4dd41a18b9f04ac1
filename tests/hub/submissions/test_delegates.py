"""What a delegate may open and go on with."""

# ruff: noqa: F401, F811  (fixtures)

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hub.submissions.intake import Draft, Intake
from protos.documents.base import rfc3339
from protos.documents.members import Delegation
from protos.documents.statements import sign
from tests.hub.conftest import ORIGIN, Base
from tests.hub.submissions.test_intake import SHARD, intake, manifest, suite, suite_files, upload
from trust.errors import Denied, NotFound
from trust.keys import ArtifactKey


def delegated(base: Base, budget: int) -> tuple[str, ArtifactKey]:
    """A delegation for datasets, and the robot's key."""
    robot = ArtifactKey.generate()
    ours = {"hub": ORIGIN, "signer": "law-institute", "name": "robot", "key": robot.public.pem().decode()}
    ends = rfc3339(datetime.now(UTC) + timedelta(days=1))
    claim = Delegation.read({**ours, "kinds": ["dataset"], "budget": budget, "expires_at": ends})
    return base.journal.record(sign(claim, base.keys["law-institute"], robot), "law-institute").id, robot


def test_a_delegate_opens_no_more_than_it_may_commit(intake: Intake, base: Base) -> None:
    """A draft takes the member's space: it counts on the budget as soon as it is open, and the same one once."""
    mandate, robot = delegated(base, 1)
    first = sign(manifest("law-institute", delegation=mandate), robot)
    draft = intake.open(first, "law-institute", mandate)
    assert intake.open(first, "law-institute", mandate) == draft
    more = sign(manifest("law-institute", name="more", delegation=mandate), robot)
    with pytest.raises(Denied, match="open submissions among them"):
        intake.open(more, "law-institute", mandate)
    assert isinstance(draft, Draft)
    upload(intake, draft, SHARD)
    intake.commit(draft)
    with pytest.raises(Denied, match="budget"):
        intake.open(more, "law-institute", mandate)
    exam = suite("law-institute", suite_files("A question")).model_copy(update={"delegation": mandate})
    with pytest.raises(Denied, match="covers dataset, and not suite"):
        intake.open(sign(exam, robot), "law-institute", mandate)


def test_a_draft_is_for_the_delegate_that_opened_it_and_for_its_member(intake: Intake, base: Base) -> None:
    (one, robot), (other, _) = delegated(base, 2), delegated(base, 2)
    draft = intake.open(sign(manifest("law-institute", delegation=one), robot), "law-institute", one)
    assert isinstance(draft, Draft)
    for delegation in (one, ""):
        assert intake.draft(draft.id, "law-institute", delegation).id == draft.id
    with pytest.raises(NotFound):
        intake.draft(draft.id, "law-institute", other)
    mine = sign(manifest("law-institute", name="mine"), base.keys["law-institute"])
    with pytest.raises(Denied, match=f"not signed under {one}"):
        intake.open(mine, "law-institute", one)
