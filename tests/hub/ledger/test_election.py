"""Several hub processes on one PostgreSQL: one writes, a later one goes on from what it committed, and it never writes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from hub.blobs import BlobStore
from hub.database import Database
from hub.fuse import Fuse
from hub.ledger import election as elections
from hub.ledger.election import Candidate, Election
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.members import projection as members_projection
from hub.members.directory import prove
from hub.models import projection as models_projection
from hub.submissions import projection as submissions_projection
from tests import postgres
from tests.hub.conftest import ORIGIN, Base
from tests.hub.ledger.test_journal import dataset
from tests.hub.ledger.test_log import Files
from trust.audit import verify_log
from trust.errors import Problem, Unavailable
from trust.keys import ArtifactKey, LogKey

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture
def empty(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


class Process(Base):
    """One of several: its stores, and its part in the election."""

    election: Election


Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path, empty: str) -> Iterator[Start]:
    """Open the same directory and database once more, as another process does."""
    log_key, hub_key = LogKey.generate(ORIGIN), ArtifactKey.generate()
    keys: dict[str, ArtifactKey] = {}
    opened: list[Process] = []

    def process(name: str) -> Process:
        fuse = Fuse()
        election = Election(empty, Candidate(name, f"{name}:1", f"{name}:2"), fuse)
        database = Database(election.url, fuse)
        database.migrate()
        blobs, log = BlobStore(tmp_path / "blobs", fuse), Log(tmp_path / "ledger", log_key, fuse, election.check)
        journal = Journal(database, blobs, log, hub_key, prove, election)
        for room in (members_projection, submissions_projection, models_projection):
            room.register(journal)
        made = Process(tmp_path, database, blobs, log, journal, hub_key, log_key, fuse, keys)
        made.election = election
        opened.append(made)
        return made

    yield process
    for each in opened:
        each.journal.stop()
        each.blobs.close()
        each.election.resign()
        each.database.close()


def lead(process: Process) -> None:
    while not process.election.stand():
        pass
    process.journal.start()


def stop_beating(process: Process) -> None:
    """What SIGSTOP does to it: it says nothing more, and keeps its sessions."""
    process.election._stopped.set()
    process.election._heart.join()


def audited(process: Process) -> int:
    return len(verify_log(Files(process.log.directory), process.log_key.public).entries)


def test_one_leads_and_the_others_see_what_it_records(start: Start) -> None:
    first, second = start("first"), start("second")
    lead(first)
    assert not second.election.stand()
    assert second.election.known == first.election.me
    first.enrol("law-institute")
    heard: list[int] = []
    second.journal.listen(lambda entry: heard.append(entry.index))
    second.journal.follow()
    assert (heard, second.journal.size) == ([0], 1)
    assert second.journal.receipt(0).leaf == first.journal.receipt(0).leaf
    with pytest.raises(Unavailable, match="does not lead"):
        second.record(dataset("law-institute"))


def test_the_next_leader_goes_on_where_the_first_one_resigned(start: Start) -> None:
    first, second = start("first"), start("second")
    lead(first)
    first.enrol("law-institute")
    first.election.resign()
    lead(second)
    assert second.record(dataset("law-institute")).index == 1
    assert audited(second) == 2


def test_what_was_committed_and_not_published_is_published_by_the_next_leader(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first dies between the database's commit and the ledger's files: nobody was told, and nothing is half."""
    first, second = start("first"), start("second")
    lead(first)
    first.enrol("law-institute")
    claim = dataset("law-institute")

    def died(entries: object) -> None:
        raise Unavailable("died")

    monkeypatch.setattr(first.log, "append", died)
    with pytest.raises(Unavailable, match="died"):
        first.record(claim)
    assert first.log.size == 1
    first.election.resign()
    lead(second)
    assert audited(second) == 2
    assert second.record(claim).index == 1


def test_a_leader_that_is_not_heard_of_loses_the_lead_and_never_writes_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still believes in itself (its own clock is not asked here): the database refuses its epoch."""
    monkeypatch.setattr(elections, "STALE", 0.5)
    first, second = start("first"), start("second")
    lead(first)
    first.enrol("law-institute")
    stop_beating(first)
    lead(second)
    second.record(dataset("law-institute", "theirs"))
    first.election._beaten = float("inf")
    first.log.reload()
    with pytest.raises(Problem):
        first.record(dataset("law-institute", "ours"))
    assert first.fuse.reason
    assert audited(second) == 2
    assert second.record(dataset("law-institute", "more")).index == 2
    assert audited(second) == 3


def test_a_leader_that_is_stopped_while_it_publishes_puts_no_older_head_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has committed, staged its head and looked at its clock; when it wakes up, another has gone on."""
    monkeypatch.setattr(elections, "STALE", 0.5)
    first, second = start("first"), start("second")
    lead(first)
    first.enrol("law-institute")
    publish = first.log._heads.publish

    def woken(note: bytes) -> None:
        stop_beating(first)
        lead(second)
        second.record(dataset("law-institute", "theirs"))
        publish(note)

    monkeypatch.setattr(first.log._heads, "publish", woken)
    with pytest.raises(Unavailable):
        first.record(dataset("law-institute", "ours"))
    assert first.fuse.reason
    assert audited(second) == second.log.size == 3  # what it committed was published by the one that leads now
    assert second.record(dataset("law-institute", "more")).index == 3


def test_a_leader_that_was_away_for_too_long_does_not_ask_the_database(start: Start) -> None:
    first = start("first")
    lead(first)
    stop_beating(first)
    first.election._beaten -= elections.LEASE + 1
    with pytest.raises(Unavailable, match="no longer leads"):
        first.enrol("law-institute")
    assert first.log.size == 0


def test_the_ledger_stays_the_source_when_the_database_is_thrown_away(start: Start, empty: str) -> None:
    first = start("first")
    lead(first)
    first.enrol("law-institute")
    claim = dataset("law-institute")
    first.record(claim)
    first.election.resign()
    first.database.close()
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    second = start("second")
    lead(second)
    assert second.record(claim).index == 1
    assert second.record(dataset("law-institute", "more")).index == 2
