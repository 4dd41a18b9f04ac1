"""A submission that is never committed is dropped with its files, and with no file that anybody else needs."""

from __future__ import annotations

import datetime as dt
import os
import threading

import pytest
from sqlmodel import select

from hub.disposal import Disposal
from hub.submissions.stale import Sweeper
from hub.submissions.tables import DraftRow, UploadedRow
from tests.hub.submissions.room import DAYS, DIGESTS, LATER, OTHERS, SHARDS, US, Room, dataset
from trust.digests import Digest
from trust.errors import Conflict, NotFound, Unavailable


def later() -> dt.datetime:
    """The moment before which everything of now is stale."""
    return dt.datetime.now(dt.UTC) + LATER


def rows(room: Room) -> int:
    with room.base.database.session() as session:
        return len(session.exec(select(DraftRow)).all()) + len(session.exec(select(UploadedRow)).all())


def test_its_files_whole_and_in_part_are_deleted(room: Room) -> None:
    draft = room.open(dataset(US, "contracts", [0, 1]))
    with room.intake.receive(draft, DIGESTS[0], 0) as incoming:
        incoming.write(SHARDS[0])
        assert incoming.finish()
    with room.intake.receive(draft, DIGESTS[1], 0) as incoming:
        incoming.write(SHARDS[1][:10])
    room.age()
    assert room.sweeper().look().dropped == [], "a week has not passed"
    assert room.sweeper().plan().dropped == []
    swept = room.sweeper().look(later())
    assert (swept.dropped, swept.deleted) == ([draft.id], [DIGESTS[0]])
    assert room.held() == set()
    assert not list((room.base.directory / "blobs" / "partial").iterdir())
    assert rows(room) == 0
    with pytest.raises(NotFound):
        room.intake.draft(draft.id, US)


def test_a_file_that_an_accepted_or_another_open_submission_needs_stays(room: Room) -> None:
    room.submit(OTHERS, "letters", [0])
    stale = room.open(dataset(US, "contracts", [0, 1, 2]))
    room.send(stale)
    fresh = room.open(dataset(OTHERS, "verdicts", [1]))
    room.send(fresh)
    room.age()
    with room.base.database.session(writing=True) as session:
        row = session.get_one(DraftRow, stale.id)
        row.opened_at = "2026-01-01T00:00:00.000Z"
        for uploaded in session.exec(select(UploadedRow).where(UploadedRow.submission == stale.id)):
            uploaded.shown_at = row.opened_at
    assert room.sweeper().look().dropped == [stale.id]
    assert room.held() == {0, 1}
    room.intake.commit(fresh)


def test_whoever_still_sends_is_not_stale(room: Room) -> None:
    """The last file that was shown counts, and the last byte of the one under way."""
    draft = room.open(dataset(US, "contracts", [0, 1]))
    with room.base.database.session(writing=True) as session:
        session.get_one(DraftRow, draft.id).opened_at = "2026-01-01T00:00:00.000Z"
    with room.intake.receive(draft, DIGESTS[0], 0) as incoming:
        incoming.write(SHARDS[0][:10])
    assert room.sweeper().look().dropped == []
    with room.intake.receive(draft, DIGESTS[0], 10) as incoming:
        incoming.write(SHARDS[0][10:])
        assert incoming.finish()
    assert room.sweeper().look().dropped == []
    room.send(draft)
    room.intake.commit(draft)


def test_a_file_that_came_a_moment_ago_waits_and_is_not_forgotten(room: Room) -> None:
    room.send(room.open(dataset(US, "contracts", [0])))
    assert room.sweeper().look(later()).dropped == []
    assert room.held() == {0}
    room.age()
    assert len(room.sweeper().look().dropped) == 1, "though nobody says again that it is stale"
    assert room.held() == set()


def test_a_sweep_that_was_cut_short_goes_on(room: Room) -> None:
    draft = room.open(dataset(US, "contracts", [0]))
    room.send(draft)
    room.age()

    def away(session: object, digest: Digest) -> bool:
        raise Unavailable("The disk is away.")

    base = room.base
    cut = Sweeper(base.database, base.blobs, Disposal(base.database, base.blobs, [away]), DAYS, lambda draft: None)
    with pytest.raises(Unavailable):
        cut.look(later())
    assert room.intake.drafts(US) == []
    assert room.sweeper().look().dropped == [draft.id]
    assert room.held() == set()


def test_who_opens_it_again_meanwhile_sends_again_and_loses_nothing(room: Room) -> None:
    claim = dataset(US, "contracts", [0, 1])
    room.send(room.open(claim))
    room.sweeper().look(later())  # dropped, and its files are too fresh to be deleted
    again = room.open(claim)
    assert set(room.send(again)) == set(DIGESTS[:2])
    room.age()
    assert room.sweeper().look().dropped == []
    entry = room.intake.commit(again)
    room.age()
    assert room.sweeper().look(later()).dropped == []
    assert room.held() == {0, 1}
    assert room.base.journal.find(entry.payload) is not None


def test_what_was_dropped_while_its_last_bytes_came_is_not_stored(room: Room) -> None:
    """Nobody would ever delete it."""
    draft = room.open(dataset(US, "contracts", [0]))
    with room.intake.receive(draft, DIGESTS[0], 0) as incoming:
        room.sweeper().look(later())
        incoming.write(SHARDS[0])
        with pytest.raises(NotFound):
            incoming.finish()
    assert room.held() == set()
    room.sweeper().look(later())
    assert not list((room.base.directory / "blobs" / "partial").iterdir())


def test_an_accepted_submission_takes_a_file_only_while_the_ledger_needs_it(room: Room) -> None:
    """Else it would lie there, and nobody would delete it."""
    draft = room.open(dataset(US, "contracts", [0]))
    room.send(draft)
    entry = room.intake.commit(draft)
    accepted = room.intake.draft(draft.id, US)
    assert room.intake.missing(accepted) == []
    room.base.blobs.path(DIGESTS[0]).unlink()
    assert room.send(accepted) == [DIGESTS[0]]
    assert room.intake.commit(accepted).index == entry.index
    room.withdraw(US, entry.id)
    room.age()
    room.purger().look()
    with pytest.raises(Conflict, match="nobody needs"):
        room.send(accepted)
    assert room.held() == set()


def test_parts_of_files_that_no_submission_knows_go(room: Room) -> None:
    """As after `coalition-hub rebuild`, which knows no open submission."""
    path = room.base.directory / "blobs" / "partial" / f"data-0123456789ab-{'0' * 64}"
    path.write_bytes(b"a part")
    room.sweeper().look()
    assert path.exists()
    os.utime(path, (0, 0))
    room.sweeper().look()
    assert not path.exists()


def test_a_commit_that_began_before_the_sweep_is_not_swept_under(room: Room) -> None:
    """While a submission is screened it is not dropped, however old; and one that was dropped is not committed."""
    draft = room.open(dataset(US, "contracts", [0]))
    room.send(draft)
    room.age()
    looked: list[list[str]] = []
    room.base.journal.listen(lambda entry: looked.append(room.sweeper().look(later()).dropped))
    committed = threading.Thread(target=room.intake.commit, args=[draft])
    committed.start()
    committed.join(60)
    assert looked == [[]]
    assert room.held() == {0}
    other = room.open(dataset(US, "letters", [1]))
    room.send(other)
    room.age()
    room.sweeper().look(later())
    with pytest.raises(NotFound):
        room.intake.commit(other)
