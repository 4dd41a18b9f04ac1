"""A withdrawn submission is used no more, by anybody; what it reached stays on record."""

from __future__ import annotations

import pytest

from hub.ledger.grants import may_read, withdrawn_with
from hub.models import registry
from hub.submissions import catalogue
from protos.documents.submissions import Withdrawal
from tests.hub.conftest import ORIGIN, Base
from tests.hub.models.conftest import record_dataset, record_model
from trust.digests import Digest
from trust.errors import Conflict, Denied, Invalid, NotFound


def withdrawal(signer: str, submission: str, reason: str = "consent was revoked") -> Withdrawal:
    return Withdrawal(hub=ORIGIN, signer=signer, submission=submission, reason=reason)


@pytest.fixture
def members(base: Base) -> Base:
    base.enrol("law-institute")
    base.enrol("university")
    base.enrol("core", "core")
    return base


def digest_of(base: Base, dataset: str) -> Digest:
    with base.database.session() as session:
        return Digest(catalogue.get(session, dataset).files[0].digest)


def test_nobody_reads_it_and_no_new_run_has_it(members: Base) -> None:
    kept = record_dataset(members, "law-institute", "kept").dataset
    gone = record_dataset(members, "law-institute", "gone").dataset
    launched = members.log.size
    digest = digest_of(members, gone)
    members.record(withdrawal("law-institute", gone))
    with members.database.session() as session:
        assert not may_read(session, digest, member="law-institute")
        assert not may_read(session, digest, node=True)
        assert withdrawn_with(session, digest) == gone
        assert [dataset.id for dataset in catalogue.for_run(session, [])] == [kept]
        assert [dataset.id for dataset in catalogue.held(session)] == [kept]
        with pytest.raises(Invalid, match=f"{gone} was withdrawn"):
            catalogue.for_run(session, [gone])
        before = catalogue.for_run(session, [], launched)
        assert [dataset.id for dataset in before] == [kept, gone], "a run of before knows what it trained on"


def test_the_same_bytes_of_another_submission_stay_readable(members: Base) -> None:
    """Otherwise whoever submits a public file and withdraws it would take it from everybody."""
    first = record_dataset(members, "law-institute", "letters")
    with members.database.session() as session:
        files = catalogue.get(session, first.dataset).files
        claim = members.journal.find(Digest(first.payload))
    assert claim is not None
    second = members.record(claim.claim.model_copy(update={"name": "the-same-letters"}))
    members.record(withdrawal("law-institute", second.id))
    with members.database.session() as session:
        assert may_read(session, Digest(files[0].digest), member="law-institute")
        assert withdrawn_with(session, Digest(files[0].digest)) == ""


def test_it_is_the_owners_to_withdraw_once(members: Base) -> None:
    dataset = record_dataset(members, "law-institute", "letters").dataset
    with pytest.raises(Denied, match="law-institute's"):
        members.record(withdrawal("university", dataset))
    with pytest.raises(NotFound):
        members.record(withdrawal("university", "data-000000000000"))
    entry = members.record(withdrawal("law-institute", dataset))
    assert members.record(entry.claim).index == entry.index, "the same statement again is the same entry"
    with pytest.raises(Conflict, match="already"):
        members.record(withdrawal("law-institute", dataset, "for another reason"))


def test_every_model_version_that_it_reached_is_known(members: Base) -> None:
    used = record_dataset(members, "law-institute", "letters")
    record_model(members, "tiny-1", data=[used])
    record_model(members, "tiny-1.1", {"config.json": b"{1}"}, parent="tiny-1")
    record_model(members, "other-1", {"config.json": b"{2}"})
    with members.database.session() as session:
        reached = registry.reached(session)
    assert {model for model, data in reached.items() if used.dataset in data} == {"tiny-1", "tiny-1.1"}
