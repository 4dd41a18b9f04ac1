"""Withdrawn data is purged: first the ledger says so, then the bytes go, and never any that something else needs."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hub.disposal import Disposal
from hub.ledger import grants
from hub.submissions.intake import Draft
from hub.submissions.purges import due
from hub.submissions.quotas import Quota
from hub.submissions.screening.index import Index
from protos.documents.base import rfc3339
from protos.documents.leaf import Leaf
from protos.documents.placing import Category
from protos.documents.statements import HUB
from protos.documents.submissions import Purge
from protos.documents.witnesses import Witness
from tests.hub.conftest import ORIGIN, migrated, open_base
from tests.hub.models.conftest import record_model
from tests.hub.submissions.room import DIGESTS, LATER, OTHERS, SHARDS, US, Room, dataset
from trust.digests import Digest
from trust.errors import Conflict, NotFound, Unavailable
from trust.keys import ArtifactKey, LogKey, WitnessKey


def recorded(room: Room) -> list[str]:
    """Submissions that a statement of the ledger purges."""
    reader = room.base.log.reader()
    leaves = [Leaf.decode(data) for data in reader.entries(0, reader.size)]
    entries = [room.base.journal.find(Digest(leaf.payload)) for leaf in leaves if leaf.kind == "purge"]
    return [entry.claim.submission for entry in entries if entry and isinstance(entry.claim, Purge)]


def test_what_is_withdrawn_goes_and_the_ledger_says_so_for_ever(room: Room) -> None:
    entry = room.submit(US, "contracts", [0, 1])
    room.withdraw(US, entry.id)
    room.age()
    done = room.purger().look()
    assert [(each.submission, set(each.blobs)) for each in done.recorded] == [(entry.id, set(DIGESTS[:2]))]
    assert done.recorded[0].size == len(SHARDS[0]) + len(SHARDS[1])
    assert set(done.deleted) == set(DIGESTS[:2])
    assert room.held() == set()
    assert recorded(room) == [entry.id]
    assert set(room.holdings().purged) == set(DIGESTS[:2])
    assert room.base.blobs.read(entry.envelope), "the signed manifest stays"
    again = room.purger().look()
    assert (again.recorded, again.deleted, again.waiting) == ([], [], [])


def test_what_another_submission_needs_stays_until_that_is_withdrawn_too(room: Room) -> None:
    ours, theirs = room.submit(US, "contracts", [0, 1]), room.submit(OTHERS, "letters", [1, 2])
    room.withdraw(US, ours.id)
    room.age()
    (due_now,) = room.purger().look().recorded
    assert (due_now.blobs, due_now.needed) == ((DIGESTS[0],), 1)
    assert room.held() == {1, 2}
    room.withdraw(OTHERS, theirs.id)
    room.purger().look()
    assert room.held() == set()
    with room.base.database.session() as session:
        assert set(grants.purged_of(session, ours.id)) == set(DIGESTS[:2])


@pytest.mark.parametrize("category", ["open", "controlled"])
def test_nothing_goes_before_its_grace_is_over(room: Room, category: Category) -> None:
    entry = room.submit(US, "contracts", [0], category=category)
    room.withdraw(US, entry.id)
    room.age()
    done = room.purger(grace=1.0).look()
    assert (done.recorded, done.later) == ([], [entry.id])
    assert room.held() == {0}
    with room.base.database.session() as session:
        tomorrow = rfc3339(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        assert [each.submission for each in due(session, room.base.log.size, tomorrow)] == [entry.id]


def test_where_the_policy_keeps_what_was_withdrawn_nothing_more_is_purged(room: Room) -> None:
    entry = room.submit(US, "contracts", [0])
    room.withdraw(US, entry.id)
    room.age()
    assert room.purger(grace=None).look().recorded == []
    assert room.held() == {0}


def test_with_witnesses_both_the_withdrawal_and_the_purge_must_be_final(room: Room) -> None:
    """A history that may yet turn out not to be everybody's deletes nothing."""
    key = WitnessKey.generate(f"{ORIGIN}/{US}")
    room.base.record(Witness.of(ORIGIN, US, key))
    entry = room.submit(US, "contracts", [0])
    room.withdraw(US, entry.id)
    room.age()
    assert room.purger().look().later == [entry.id]
    room.base.log.keep_witnessed(room.base.log.note())
    assert [each.submission for each in room.purger().look().recorded] == [entry.id]
    assert room.held() == {0}, "the purge itself is pending"
    room.base.log.keep_witnessed(room.base.log.note())
    assert room.purger().look().deleted == [DIGESTS[0]]


def test_an_open_submission_that_was_told_that_the_hub_has_it_keeps_it(room: Room) -> None:
    entry = room.submit(US, "contracts", [0], category="open")
    draft = room.open(dataset(OTHERS, "copy", [0]))
    assert room.intake.missing(draft) == [], "they may read it, and need not send it"
    room.withdraw(US, entry.id)
    room.age()
    done = room.purger().look()
    assert (done.deleted, done.waiting) == ([], [DIGESTS[0]])
    assert room.send(draft) == [DIGESTS[0]], "they may not read it any more"
    room.age()
    assert room.purger().look().waiting == [DIGESTS[0]]
    room.intake.commit(draft)
    assert room.purger().look().waiting == []
    assert room.held() == {0}
    assert room.holdings().purged == {}, "it is named again"


def test_naming_a_digest_keeps_nothing_that_was_not_shown(room: Room) -> None:
    """Or anybody could keep what was withdrawn from being deleted."""
    entry = room.submit(US, "contracts", [0])
    room.open(dataset(OTHERS, "covets", [0]))
    room.withdraw(US, entry.id)
    room.age()
    assert room.purger().look().deleted == [DIGESTS[0]]


def test_the_same_data_can_be_submitted_again_and_is_asked_for(room: Room) -> None:
    entry = room.submit(US, "contracts", [0, 1])
    room.withdraw(US, entry.id)
    room.age()
    room.purger().look()
    again = room.open(dataset(US, "contracts-again", [0, 1]))
    assert set(room.send(again)) == set(DIGESTS[:2])
    second = room.intake.commit(again)
    room.age()
    assert room.purger().look().deleted == []
    assert room.held() == {0, 1}
    room.withdraw(US, second.id)
    assert set(room.purger().look().deleted) == set(DIGESTS[:2]), "and withdrawn and purged again"


def test_what_is_purged_takes_none_of_its_owners_quota(room: Room) -> None:
    entry = room.submit(US, "contracts", [0, 1])
    quota = Quota(size=len(SHARDS[0]) + len(SHARDS[1]), open=20)

    def fits() -> bool:
        with suppress(Conflict), room.base.database.session() as session:
            quota.reserve(session, US, "another", 1)
            return True
        return False

    assert not fits()
    room.withdraw(US, entry.id)
    assert not fits(), "the hub holds it still"
    room.age()
    room.purger().look()
    assert fits()


def test_models_and_envelopes_stay_though_somebody_submits_their_bytes_and_withdraws_them(room: Room) -> None:
    record_model(room.base, "tiny-1", {"config.json": SHARDS[0]})
    entry = room.submit(US, "contracts", [0, 1])
    room.withdraw(US, entry.id)
    room.age()
    assert room.purger().look().deleted == [DIGESTS[1]]
    assert room.held() == {0}


def test_a_statement_keeps_its_envelope_though_somebody_uploaded_the_same_bytes_before(room: Room) -> None:
    """The ledger's writer finds them in the store, and relies on them from that moment on."""
    draft = room.open(dataset(US, "contracts", [0]))
    envelope = room.base.blobs.put(draft.envelope)
    room.age()
    room.base.blobs.put_group([draft.envelope])
    assert room.disposal.dispose(envelope) == "fresh"
    room.send(draft)
    assert room.intake.commit(draft).envelope == envelope
    room.age()
    assert room.disposal.dispose(envelope) == "needed"


def test_what_comes_back_is_deleted_again(room: Room) -> None:
    """From a backup, say, or after a power cut that took the deletion back."""
    entry = room.submit(US, "contracts", [0])
    room.withdraw(US, entry.id)
    room.age()
    room.purger().look()
    room.base.blobs.put(SHARDS[0])
    room.age()
    assert room.purger().look().deleted == [DIGESTS[0]]


def test_a_purge_that_was_cut_short_after_its_statement_goes_on(room: Room) -> None:
    entry = room.submit(US, "contracts", [0])
    room.withdraw(US, entry.id)
    room.age()

    def away(session: object, digest: Digest) -> bool:
        raise Unavailable("The disk is away.")

    cut = Disposal(room.base.database, room.base.blobs, [away])
    with pytest.raises(Unavailable):
        room.purger(disposal=cut).look()
    assert recorded(room) == [entry.id]
    assert room.held() == {0}
    done = room.purger().look()
    assert (done.recorded, done.deleted) == ([], [DIGESTS[0]])


def test_the_index_of_duplicates_forgets_what_was_purged(room: Room) -> None:
    kept, gone = room.submit(US, "contracts", [0]), room.submit(US, "letters", [1])
    folder = room.screener.folder / "index"
    before = {path: path.stat().st_ino for path in folder.glob("*.keys")}
    assert before
    room.withdraw(US, gone.id)
    room.age()
    room.purger().look()
    index = Index(folder)
    assert index.has(kept.id)
    assert not index.has(gone.id)
    assert not before.items() & {path: path.stat().st_ino for path in folder.glob("*.keys")}.items()
    assert room.examination.unknown() == []


@pytest.mark.parametrize("blobs", [[2], [1], [0, 0]])
def test_the_ledger_takes_no_purge_that_does_not_follow(room: Room, blobs: list[int]) -> None:
    """Not of a blob that is none of the submission's, nor of one that stands, nor of a submission that does."""
    ours = room.submit(US, "contracts", [0, 1])
    room.submit(OTHERS, "letters", [1, 2])
    names = {"hub": ORIGIN, "signer": HUB, "submission": ours.id}
    with pytest.raises(Conflict, match="not withdrawn"):
        room.base.journal.sign_and_record(Purge.read({**names, "blobs": [DIGESTS[0]]}))
    room.withdraw(US, ours.id)
    if blobs == [0, 0]:
        room.base.journal.sign_and_record(Purge.read({**names, "blobs": [DIGESTS[0]]}))
    with pytest.raises(Conflict):
        room.base.journal.sign_and_record(Purge.read({**names, "blobs": [DIGESTS[number] for number in blobs]}))


class Histories(RuleBasedStateMachine):
    """Members submit, leave open, withdraw; the hub purges, sweeps, and is cut short. What anybody may count on is there."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        database = migrated(f"sqlite:///{self.directory / 'database.sqlite'}")
        base = open_base(self.directory, database, LogKey.generate(ORIGIN), ArtifactKey.generate())
        base.journal.start()
        for member in (US, OTHERS):
            base.enrol(member)
        self.room = Room.of(base, self.directory / "screening")
        self.standing: dict[str, tuple[str, set[int]]] = {}
        self.open: dict[str, tuple[Draft, set[int]]] = {}
        self.named = 0

    def teardown(self) -> None:
        self.room.screener.stop()
        self.room.base.journal.stop()
        self.room.base.blobs.close()
        self.room.base.database.close()
        shutil.rmtree(self.directory)

    members = st.sampled_from([US, OTHERS])
    numbers = st.sets(st.integers(0, len(SHARDS) - 1), min_size=1)

    @rule(member=members, numbers=numbers, category=st.sampled_from(["open", "controlled"]), kept=st.booleans())
    def submit_one(self, member: str, numbers: set[int], category: Category, kept: bool) -> None:
        """Committed, or left open when nothing or all of it was sent."""
        self.named += 1
        draft = self.room.open(dataset(member, f"data-{self.named}", sorted(numbers), category=category))
        if self.named % 3:
            self.room.send(draft)
        self.open[draft.id] = draft, numbers
        if not kept:
            self._commit(draft.id)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit_one(self, data: st.DataObject) -> None:
        self._commit(data.draw(st.sampled_from(list(self.open))))

    def _commit(self, identifier: str) -> None:
        draft, numbers = self.open[identifier]
        with suppress(Conflict, NotFound):
            entry = self.room.intake.commit(draft)
            self.standing[entry.id] = draft.claim.signer, numbers
            del self.open[draft.id]

    @precondition(lambda self: self.standing)
    @rule(data=st.data())
    def withdraw_one(self, data: st.DataObject) -> None:
        submission = data.draw(st.sampled_from(list(self.standing)))
        member, _ = self.standing.pop(submission)
        self.room.withdraw(member, submission)

    @rule(later=st.booleans())
    def purge(self, later: bool) -> None:
        if later:
            self.room.age()
        self.room.purger().look()

    @rule()
    def be_cut_short_after_the_statement(self) -> None:
        with self.room.base.database.session() as session:
            found = due(session, self.room.base.log.size, rfc3339(dt.datetime.now(dt.UTC)))
        names = {"hub": ORIGIN, "signer": HUB}
        for each in found:
            claim = Purge.read({**names, "submission": each.submission, "blobs": each.blobs})
            self.room.base.journal.sign_and_record(claim)

    @precondition(lambda self: self.open)
    @rule()
    def sweep(self) -> None:
        """All that is open is stale; when all else is done, nothing lies there that nobody needs."""
        self.room.age()
        self.room.sweeper().look(dt.datetime.now(dt.UTC) + LATER)
        self.room.purger().look()
        self.open.clear()
        needed: set[int] = set()
        for _, numbers in self.standing.values():
            needed |= numbers
        assert self.room.held() == needed

    @invariant()
    def what_stands_is_here(self) -> None:
        for _, numbers in self.standing.values():
            assert numbers <= self.room.held()

    @invariant()
    def what_an_open_submission_need_not_send_is_here(self) -> None:
        for draft, numbers in self.open.values():
            missing = {DIGESTS.index(digest) for digest, _ in self.room.intake.missing(draft)}
            assert numbers - missing <= self.room.held()

    @invariant()
    def auditor_and_hub_agree_on_what_may_be_absent(self) -> None:
        with self.room.base.database.session() as session:
            condemned = set(grants.condemned(session, self.room.base.log.size))
        assert condemned == set(self.room.holdings().purged)

    @invariant()
    def what_is_absent_was_purged_or_never_recorded(self) -> None:
        with self.room.base.database.session() as session:
            for number in set(range(len(SHARDS))) - self.room.held():
                assert not grants.named(session, DIGESTS[number])


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=15, stateful_step_count=20)
