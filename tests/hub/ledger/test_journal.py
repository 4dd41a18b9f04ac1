"""The journal: what is signed rightly enters once, durable and provable; what is not leaves no trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlmodel import Session, func, select

from hub.database import Database
from hub.ledger.tables import BlobGrant, LedgerEntry
from hub.members.tables import MemberRow
from hub.submissions.tables import SubmissionRow
from protos.documents.statements import Claimed, read, sign
from protos.documents.submissions import Dataset, DatasetFile
from tests.hub.conftest import ORIGIN, Base
from trust.digests import digest_bytes
from trust.errors import Conflict, Corrupt, Denied
from trust.keys import ArtifactKey
from trust.receipts import verify_receipt


def dataset(signer: str, name: str = "notes", hub: str = ORIGIN) -> Dataset:
    file = DatasetFile(path="notes.jsonl", digest=digest_bytes(name.encode()), size=10, rows=1)
    return Dataset(
        hub=hub, signer=signer, name=name, domain="law", licence="MIT", provenance="written here", rows=1, files=(file,)
    )


def colliding(number: int) -> Dataset:
    """Always the same payload for the same number."""
    changes = {
        "issued_at": "2026-01-01T00:00:00.000Z",
        "category": "private",
        "provenance": f"written here, {number:09d}",
    }
    file = DatasetFile(path="notes.jsonl", digest=digest_bytes(b"notes"), size=10, rows=1)
    return dataset("law-institute").model_copy(update={**changes, "files": (file,)})


def count(base: Base, table: type) -> int:
    with base.database.session() as session:
        return session.exec(select(func.count()).select_from(table)).one()


def test_a_recorded_statement_has_a_receipt_that_verifies_with_the_log_key_alone(base: Base) -> None:
    base.enrol("law-institute")
    entry = base.record(dataset("law-institute"))
    receipt = base.journal.receipt(entry.index)
    head = verify_receipt(receipt.proof, receipt.leaf, base.log_key.public)
    assert head.size == 2
    assert entry.payload.encode() in receipt.leaf


def test_the_same_payload_again_answers_with_the_first_entry(base: Base) -> None:
    key = base.enrol("law-institute")
    claim = dataset("law-institute")
    first = base.journal.record(sign(claim, key), "law-institute")
    again = base.journal.record(sign(claim, key), "law-institute")  # ECDSA: other signature bytes, same payload
    assert again.index == first.index
    assert base.log.size == 2


def test_the_same_payload_many_times_at_once_is_one_entry_for_all(base: Base) -> None:
    key = base.enrol("law-institute")
    claim = dataset("law-institute")
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda _: base.journal.record(sign(claim, key), "law-institute"), range(24)))
    assert {entry.index for entry in entries} == {1}
    assert len({entry.envelope for entry in entries}) == 1
    assert base.log.size == 2


@pytest.mark.parametrize(
    ("signer", "hub", "caller"),
    [("law-institute", ORIGIN, "university"), ("law-institute", "another-hub", "law-institute")],
)
def test_anothers_statement_or_another_hubs_is_refused(base: Base, signer: str, hub: str, caller: str) -> None:
    key = base.enrol("law-institute")
    base.enrol("university")
    with pytest.raises(Denied):
        base.journal.record(sign(dataset(signer, hub=hub), key), caller)
    assert base.log.size == 2


def test_a_wrong_key_is_refused_and_leaves_no_blob(base: Base) -> None:
    base.enrol("law-institute")
    envelope = sign(dataset("law-institute"), ArtifactKey.generate())
    with pytest.raises(Denied, match="signature"):
        base.journal.record(envelope, "law-institute")
    assert not base.blobs.has(digest_bytes(envelope))
    assert count(base, SubmissionRow) == 0


def test_a_rooms_refusal_undoes_its_own_writes_only(base: Base) -> None:
    base.enrol("law-institute")
    base.record(dataset("law-institute"))
    changed = dataset("law-institute").model_copy(update={"provenance": "elsewhere"})
    with pytest.raises(Conflict, match="before"):
        base.record(changed)
    assert count(base, LedgerEntry) == base.log.size == 2


def test_two_statements_that_would_be_called_the_same_cannot_both_enter(base: Base) -> None:
    """Their payloads' digests agree in 48 bits: found among 40 million in a minute. The first stands, and the hub goes on."""
    base.enrol("law-institute")
    one, other = (colliding(number) for number in (24_209_973, 33_494_506))
    first = base.record(one)
    assert first.id == read(sign(other, base.keys["law-institute"])).id == "data-db0421967b34"
    with pytest.raises(Conflict, match="Another dataset in the ledger is called data-db0421967b34"):
        base.record(other)
    assert base.record(one).index == first.index
    assert base.record(dataset("law-institute", "more")).index == 2


def test_of_two_in_one_group_that_would_be_called_the_same_one_enters(base: Base) -> None:
    held, gate = threading.Event(), threading.Event()
    base.journal.register("dataset", check=lambda _, claimed: _hold(held, gate, claimed))
    base.enrol("law-institute")
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(base.record, dataset("law-institute", "gate"))
        assert held.wait(60)  # a group of its own
        both = [pool.submit(base.record, colliding(number)) for number in (24_209_973, 33_494_506)]
        while base.journal._groups._queue.qsize() < 2:
            time.sleep(0.001)
        gate.set()
    assert first.exception() is None
    problems = [str(each.exception() or "") for each in both]
    assert sorted(problems)[0] == ""
    assert "is called data-db0421967b34" in sorted(problems)[1]


def _hold(held: threading.Event, gate: threading.Event, claimed: Claimed) -> None:
    if isinstance(claimed.claim, Dataset) and claimed.claim.name == "gate":
        held.set()
        assert gate.wait(60)


def test_a_fault_that_one_statement_brings_out_refuses_that_one_alone(base: Base) -> None:
    """A check of ours that fails as it never should, or a database that refuses a value: no SQL in the answer, no end of all."""

    def faulty(session: Session, claimed: Claimed) -> None:
        if isinstance(claimed.claim, Dataset) and claimed.claim.name == "deep":
            raise OverflowError("date value out of range")
        if isinstance(claimed.claim, Dataset) and claimed.claim.name == "twice":
            session.add(MemberRow(id="law-institute", organisation="x", role="core", enrolled_at="", standing=""))
            session.flush()

    base.journal.register("dataset", check=faulty)
    base.enrol("law-institute")
    names = ["deep", "twice", *(f"notes-{number}" for number in range(6))]
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(base.record, dataset("law-institute", name)) for name in names]
    refused = [str(each.exception()) for each in done[:2]]
    assert all("could not be recorded, by a fault of the hub" in text and "INSERT" not in text for text in refused)
    assert [each.exception() for each in done[2:]] == [None] * 6
    assert base.log.size == 7


def test_many_writers_at_once_each_get_their_own_place(base: Base) -> None:
    base.enrol("law-institute")
    claims = [dataset("law-institute", f"notes-{i}") for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(base.record, claims))
    assert sorted(entry.index for entry in entries) == list(range(1, 41))
    for entry in entries:
        receipt = base.journal.receipt(entry.index)
        verify_receipt(receipt.proof, receipt.leaf, base.log_key.public)


def test_an_empty_database_is_rebuilt_from_the_ledger(
    base: Base, reopen: Callable[[Database], Base], tmp_path: Path
) -> None:
    base.enrol("law-institute")
    base.record(dataset("law-institute"))
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    fresh.migrate()
    other = reopen(fresh)
    other.journal.start()
    for table in (LedgerEntry, MemberRow, SubmissionRow, BlobGrant):
        assert rows(fresh, table) == rows(base.database, table)


def rows(database: Database, table: type) -> list[tuple[object, ...]]:
    with database.session() as session:
        found = [tuple(row.model_dump().values()) for row in session.exec(select(table))]
    return sorted(found, key=repr)


def test_a_database_behind_the_log_catches_up_with_the_next_statement(
    base: Base, reopen: Callable[[Database], Base], tmp_path: Path
) -> None:
    """What a crash between the log's append and the database's commit leaves behind."""
    behind = Database(f"sqlite:///{tmp_path / 'behind.sqlite'}")
    behind.migrate()
    other = reopen(behind)
    base.enrol("law-institute")
    other.log.reload()
    other.journal.start()
    base.record(dataset("law-institute"))
    other.log.reload()
    other.keys = base.keys
    other.record(dataset("law-institute", "more-notes"))
    with behind.session() as session:
        assert [row.index for row in session.exec(select(LedgerEntry))] == [0, 1, 2]
        assert len(session.exec(select(SubmissionRow)).all()) == 2


def test_a_ledger_that_lost_entries_is_noticed_at_start(base: Base, reopen: Callable[[Database], Base]) -> None:
    base.enrol("law-institute")
    note = (base.directory / "ledger" / "checkpoint").read_bytes()
    base.record(dataset("law-institute"))
    (base.directory / "ledger" / "checkpoint").write_bytes(note)
    (base.directory / "ledger" / ".head").unlink()
    other = reopen(base.database)
    with pytest.raises(Corrupt, match="knows 2 entries"):
        other.journal.start()
