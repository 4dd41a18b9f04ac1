"""A submission's way in: opened with its signed manifest, filled with files, committed or rejected as a whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

from sqlmodel import col, select

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.grants import may_read
from hub.ledger.journal import Journal
from hub.partials import Incoming
from hub.submissions import catalogue, delegates, drafts, reports
from hub.submissions.catalogue import Accepted
from hub.submissions.drafts import Draft as Draft  # what `open` answers with
from hub.submissions.examination import Examination, Surroundings
from hub.submissions.policy import DEFAULT, Policy
from hub.submissions.quotas import DEFAULT as DEFAULT_QUOTA
from hub.submissions.quotas import Quota, size_of
from hub.submissions.screening.findings import Finding, rejected
from hub.submissions.tables import DraftRow
from hub.vault import Sealing
from protos.documents.base import FileEntry, now
from protos.documents.names import check_names
from protos.documents.submissions import Dataset, DatasetFile, Submission, Suite
from protos.documents.suite_files import MAX_SUITE_JSON, check_size, read_form
from trust.digests import Digest
from trust.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable

MAX_FILE = 1 << 40

_log = logging.getLogger(__name__)


class Intake:
    """Blocking; the service calls it in threads."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        journal: Journal,
        examination: Examination,
        policy: Policy = DEFAULT,
        quota: Quota = DEFAULT_QUOTA,
    ) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._examination, self.policy, self._quota = examination, policy, quota
        self._going: dict[str, Future[Entry]] = {}
        self._lock = threading.Lock()
        self._recording = threading.Lock()

    def open(self, envelope: bytes, member: str, delegation: str = "") -> Draft | Entry:
        """Verify a manifest and remember it; the entry, if the very same submission was recorded before.

        A recorded one that the hub's disk has lost files of is opened all the same: they are sent again. `delegation` is the
        caller's, where it is no member itself. Raises `Denied` for what the ledger would refuse of this signer.
        """
        claimed = self._journal.read(envelope, member)
        if not isinstance(claimed.claim, Submission):
            raise Invalid(f"A {claimed.kind} is not a submission.")
        if entry := self._journal.find(claimed.payload):
            return self._to_mend(Draft(claimed.id, "accepted", claimed, envelope)) or entry
        _check_files(claimed.claim)
        self.policy.check(claimed.claim, claimed.id)
        self._check_space(claimed.claim)
        draft = Draft(claimed.id, "open", claimed, envelope)
        if not delegates.is_for(draft, delegation):
            raise Denied(f"The manifest is not signed under {delegation}.", "Sign it with the delegate's home.")
        with self._blobs.gate.keeping(), self._database.session(writing=True) as session:
            delegates.check(session, claimed, self._journal.size)
            self._quota.reserve(session, member, claimed.id, size_of(envelope))
            drafts.begin(session, draft)
        return draft

    def _to_mend(self, recorded: Draft) -> Draft | None:
        """Of a submission that stands: the draft under which its lost files are sent again, if there are any."""
        member = recorded.claim.signer
        with self._database.session() as session:
            if all(
                self._has(recorded, each) or not may_read(session, each, member=member) for each in recorded.digests
            ):
                return None
        row = DraftRow(id=recorded.id, member=member, envelope=recorded.envelope, state=recorded.state, opened_at=now())
        with self._database.session(writing=True) as session:
            session.merge(row)
        return recorded

    def missing(self, draft: Draft) -> list[tuple[Digest, int]]:
        """Files that the member has not shown yet, with the bytes of them that came.

        A blob that the hub holds counts only if the member may read it: otherwise a digest would be a key to another's data.
        And only if the submission counts on it, so that nobody deletes it after this answer. The same is looked up for every
        file, so that neither the answer nor the work tells what others have.
        """
        member = draft.claim.signer
        with self._database.session() as session:
            counted = drafts.counted(session, draft.id)
            lacking = [
                digest
                for digest in draft.digests
                if not all(
                    [
                        may_read(session, digest, member=member) or counted.get(digest),
                        digest in counted or draft.state == "accepted",
                        self._has(draft, digest),
                    ]
                )
            ]
        return [(digest, self._blobs.partials.size(draft.id, digest)) for digest in lacking]

    def _check_sizes(self, draft: Draft) -> None:
        """Raises `Invalid` where the manifest says another size than a file has that did not have to be sent."""
        for digest in draft.digests:
            said, held = draft.file(digest).size, self._blobs.size(digest)
            if said != held:
                raise Invalid(f"{digest} has {held} bytes, and the manifest says {said}.", "Pack the files again.")

    def _has(self, draft: Draft, digest: Digest) -> bool:
        """Whether the hub holds it as the submission asks: what is to be sealed must be sent to be, and what is sealed must
        be sent by whoever would have it unsealed; a delegate that may not read it cannot open it to everyone so."""
        if draft.sealed:
            return self._blobs.vault.has(digest)
        return self._blobs.has(digest) and not self._blobs.sealed(digest)

    def receive(self, draft: Draft, digest: Digest, offset: int) -> Incoming | Sealing:
        """Where a file's bytes go; when all are here, it is remembered that the member has shown it.

        Raises `NotFound` for a file that the manifest does not name, `Conflict` for a wrong offset.
        """
        size = draft.file(digest).size
        incoming: Incoming | Sealing
        if draft.sealed:
            incoming = self._blobs.vault.incoming(digest, size, offset)
        else:
            incoming = self._blobs.resumable(draft.id, digest, size, offset)
        incoming.verified = partial(self._show, draft, digest)
        return incoming

    def _show(self, draft: Draft, digest: Digest) -> None:
        """Before the blob appears, so that it is counted on from the beginning."""
        with self._blobs.gate.keeping(), self._database.session(writing=True) as session:
            drafts.show(session, draft, digest)

    def draft(self, identifier: str, member: str, delegation: str = "") -> Draft:
        """Raises `NotFound`, also for somebody else's, and to a delegate for what it did not open."""
        with self._database.session() as session:
            row = session.get(DraftRow, identifier)
        if row is not None and row.member == member and row.state != "dropped":
            draft = Draft.of(row)
            if delegates.is_for(draft, delegation):
                return draft
        raise NotFound(f"You have no open submission {identifier[:80]!r}.", "Submit it again.")

    def commit(self, draft: Draft) -> Entry:
        """Screen and record, and wait for it. Raises `Conflict` with the reasons of a rejection; idempotent."""
        return self.start(draft).result()

    def start(self, draft: Draft) -> Future[Entry]:
        """Begin to screen; what is accepted is recorded. The entry to come, or what `commit` raises.

        Raises `Conflict` at once while files are missing, and when the member has used up its tries for the day.
        """
        done: Future[Entry] = Future()
        if entry := self._journal.find(draft.claimed.payload):
            done.set_result(entry)
            return done
        with self._blobs.gate.keeping(), self._database.session(writing=True) as session:
            drafts.alive(session, draft.id)
            drafts.count_on(session, draft)
        if missing := self.missing(draft):
            raise _missing(draft, missing)
        self._check_sizes(draft)
        with self._lock:
            if going := self._going.get(draft.id):
                return going
            self._count_try(draft)
            self._going[draft.id] = done
        # It may have been dropped between the two; while it is screened it cannot be.
        if missing := self.missing(draft):
            self._end(draft, done, _missing(draft, missing))
        else:
            self._begin(draft, done)
        return done

    def resume(self) -> list[Future[Any]]:
        """Go on with what was being screened when the hub stopped; screen again what the index of duplicates lacks.

        Answers at once, with what is then under way.
        """
        under_way: list[Future[Any]] = []
        with self._database.session() as session:
            rows = session.exec(select(DraftRow).where(DraftRow.state == "screening")).all()
        for row in rows:
            draft, done = Draft.of(row), Future[Entry]()
            with self._lock:
                self._going[draft.id] = done
            self._begin(draft, done)
            under_way.append(done)
        return [*under_way, *self._again(self._examination.unknown()).values()]

    def screen_again(self) -> dict[str, Future[list[Finding]]]:
        """Screen everything accepted against what was accepted since, suites above all; findings to come, by dataset."""
        with self._database.session() as session:
            datasets = catalogue.held(session)
        return self._again(datasets)

    def _again(self, datasets: Sequence[Accepted[DatasetFile]]) -> dict[str, Future[list[Finding]]]:
        entries = [self._journal.find(dataset.payload) for dataset in datasets]
        among = self._examination.surroundings()
        return {entry.id: self._rescreen(entry.id, cast(Dataset, entry.claim), among) for entry in entries if entry}

    def screened_rows(self, draft: Draft) -> int:
        """How far the screening of a draft is."""
        return self._examination.rows(draft.id)

    def _begin(self, draft: Draft, done: Future[Entry]) -> None:
        found = self._examination.begin(draft.id, draft.claim)
        found.add_done_callback(lambda future: self._conclude(draft, future, done))

    def _conclude(self, draft: Draft, screened: Future[list[Finding]], done: Future[Entry]) -> None:
        """Record or refuse what was screened, in the screener's thread: nothing may be raised here."""
        try:
            found = screened.result()
            if reports.tells(found):
                with self._database.session(writing=True) as session:
                    reports.charge(session, draft.claim.signer)
            if refused := rejected(found):
                self._keep(draft, found, "rejected")
                self._examination.forget(draft.id)
                raise Conflict(f"{draft.id} was rejected: " + " ".join(finding.message for finding in refused))
            self._keep(draft, found, "screening")
            entry = self._record_unless_overlooked(draft, found)
            if entry is None:
                self._begin(draft, done)
                return
            with self._database.session(writing=True) as session:
                drafts.accept(session, draft.id)
        except Exception as error:
            self._end(draft, done, error)
            return
        try:
            self._examination.remember(draft.id)
        except (Problem, OSError) as error:  # a cache: made again at the next start
            _log.warning("the screening index was not written: %s", error)
        self._end(draft, done, entry)

    def _record_unless_overlooked(self, draft: Draft, found: list[Finding]) -> Entry | None:
        """None when it has to be compared with more. One at a time: of a dataset and a suite that are screened at once, the
        later one to come here is compared with the other."""
        with self._recording:
            return None if self._examination.overlooked(draft.id, draft.claim) else self._record(draft, found)

    def _record(self, draft: Draft, found: list[Finding]) -> Entry:
        """What the ledger refuses (a name that is taken, say) is a reason like the others."""
        try:
            return self._journal.record(draft.envelope, draft.claim.signer)
        except Unavailable:
            raise
        except Problem as problem:
            reason = Finding(rule="ledger", severity="reject", message=problem.diagnostics())
            self._keep(draft, [*found, reason], "rejected")
            self._examination.forget(draft.id)
            raise

    def _end(self, draft: Draft, done: Future[Entry], outcome: Entry | Exception) -> None:
        with self._lock:
            self._going.pop(draft.id, None)
        if isinstance(outcome, Entry):
            done.set_result(outcome)
            return
        if not isinstance(outcome, Problem):
            _log.error("the screening of %s failed", draft.id, exc_info=outcome)
            outcome = Unavailable(f"The hub met an error of its own while it screened {draft.id}.", "Commit it again.")
        try:
            self._reopen(draft)
        finally:  # a disk that fails now must not leave the caller waiting
            done.set_exception(outcome)

    def _reopen(self, draft: Draft) -> None:
        """A draft that was neither accepted nor rejected can be committed again."""
        with self._database.session(writing=True) as session:
            row = session.get(DraftRow, draft.id)
            if row is not None and row.state == "screening":
                row.state = "open"
                session.add(row)

    def _rescreen(self, identifier: str, claim: Dataset, among: Surroundings) -> Future[list[Finding]]:
        """Screen what was accepted before; nothing but its findings and the index change."""
        done: Future[list[Finding]] = Future()

        def conclude(screened: Future[list[Finding]]) -> None:
            try:
                with self._database.session(writing=True) as session:
                    reports.write(session, identifier, screened.result())
                self._examination.remember(identifier)
                done.set_result(screened.result())
            except Exception as error:
                _log.warning("%s was not screened again: %s", identifier, error)
                done.set_exception(error)

        self._examination.begin(identifier, claim, among).add_done_callback(conclude)
        return done

    def _count_try(self, draft: Draft) -> None:
        with self._database.session(writing=True) as session:
            reports.count_try(session, draft.claim.signer, self._examination.policy.tries_per_day)
            row = drafts.alive(session, draft.id)
            row.state = "screening"
            session.add(row)

    def drafts(self, member: str) -> list[Draft]:
        """A member's open and rejected submissions."""
        ended = col(DraftRow.state).in_(("accepted", "dropped"))
        with self._database.session() as session:
            query = select(DraftRow).where(DraftRow.member == member, ~ended).order_by(col(DraftRow.opened_at))
            return [Draft.of(row) for row in session.exec(query)]

    def findings(self, identifier: str) -> list[Finding]:
        with self._database.session() as session:
            return reports.read(session, identifier)

    def suite_tasks(self, files: tuple[FileEntry, ...]) -> list[str]:
        """The names of an accepted suite's tasks, from its `suite.json` alone."""
        return [
            task.name
            for file in files
            if file.path == "suite.json"
            for task in read_form(self._blobs.read(Digest(file.digest), MAX_SUITE_JSON)).tasks
        ]

    def _keep(self, draft: Draft, found: list[Finding], state: str) -> None:
        with self._database.session(writing=True) as session:
            row = session.get(DraftRow, draft.id)
            if row is not None:
                row.state = state
                session.add(row)
            reports.write(session, draft.id, found)

    def _check_space(self, claim: Submission) -> None:
        size = sum(file.size for file in claim.sent)
        if size > self._blobs.free_bytes() // 2:
            raise Conflict(f"The hub has no room for {size} bytes.", "Ask the core team to enlarge its disk.")


def _missing(draft: Draft, missing: Sequence[object]) -> Conflict:
    return Conflict(f"{len(missing)} files of {draft.id} are still missing.", "Upload them first.")


def _check_files(claim: Submission) -> None:
    check_names(file.path for file in claim.files)
    if large := [file.path for file in claim.files if not 0 < file.size <= MAX_FILE]:
        raise Invalid(f"{large[0]} is empty or larger than {MAX_FILE} bytes.", field="files")
    if isinstance(claim, Suite):
        check_size(sum(file.size for file in claim.files))
