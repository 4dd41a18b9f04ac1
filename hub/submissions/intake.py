"""A submission's way in: opened with its signed manifest, filled with files, committed or rejected as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlmodel import col, delete, select

from hub.blobs import BlobStore, Incoming
from hub.database import Database
from hub.ledger.grants import may_read
from hub.ledger.journal import Entry, Journal
from hub.submissions import catalogue, screening
from hub.submissions.screening import Finding
from hub.submissions.tables import DraftRow, FindingRow, UploadedRow
from hub.vault import Sealing
from protos.documents import statements
from protos.documents.base import FileEntry, now
from protos.documents.statements import Claimed
from protos.documents.submissions import Dataset, Suite
from trust.digests import Digest
from trust.errors import Conflict, Invalid, NotFound

MAX_FILE = 1 << 40
MAX_DRAFTS = 20


@dataclass(frozen=True)
class Draft:
    """An opened submission."""

    id: str
    state: str
    claimed: Claimed
    envelope: bytes

    @property
    def claim(self) -> Dataset | Suite:
        return cast(Dataset | Suite, self.claimed.claim)

    @property
    def sealed(self) -> bool:
        return isinstance(self.claim, Suite) and self.claim.visibility == "sealed"

    def file(self, digest: Digest) -> FileEntry:
        for entry in self.claim.files:
            if entry.digest == digest:
                return entry
        raise NotFound(f"The submission {self.id} names no file {digest}.")


class Intake:
    """Blocking; the service calls it in threads."""

    def __init__(self, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal

    def open(self, envelope: bytes, member: str) -> Draft | Entry:
        """Verify a manifest and remember it; the entry, if the very same submission was recorded before."""
        claimed = self._journal.read(envelope, member)
        if not isinstance(claimed.claim, Dataset | Suite):
            raise Invalid(f"A {claimed.kind} is not a submission.")
        if entry := self._journal.find(claimed.payload):
            return entry
        _check_files(claimed.claim)
        self._check_space(claimed.claim)
        draft = DraftRow(id=claimed.id, member=member, envelope=envelope, opened_at=now())
        with self._database.session(writing=True) as session:
            drafts = session.exec(select(DraftRow.id).where(DraftRow.member == member, DraftRow.state == "open")).all()
            if len(drafts) >= MAX_DRAFTS and claimed.id not in drafts:
                raise Conflict(f"You have {len(drafts)} open submissions.", "Commit or wait: old ones are dropped.")
            session.merge(draft)
        return Draft(claimed.id, "open", claimed, envelope)

    def missing(self, draft: Draft) -> list[tuple[Digest, int]]:
        """Files that the member has not shown yet, with the bytes of them that came.

        A blob that the hub holds counts only if the member may read it: otherwise a digest would be a key to another's data.
        """
        member = draft.claim.signer
        with self._database.session() as session:
            shown = set(session.exec(select(UploadedRow.digest).where(UploadedRow.submission == draft.id)))
            digests = dict.fromkeys(Digest(file.digest) for file in draft.claim.files)
            lacking = [
                digest
                for digest in digests
                if not (self._has(draft, digest) and (digest in shown or may_read(session, digest, member=member)))
            ]
        return [(digest, self._blobs.partial_size(draft.id, digest)) for digest in lacking]

    def _has(self, draft: Draft, digest: Digest) -> bool:
        """Whether the hub holds it as the submission asks: what is to be sealed must be sent to be."""
        return self._blobs.vault.has(digest) if draft.sealed else self._blobs.has(digest)

    def receive(self, draft: Draft, digest: Digest, offset: int) -> Incoming | Sealing:
        """Where a file's bytes go. Raises `NotFound` for one that the manifest does not name, `Conflict` for a wrong offset."""
        if draft.sealed:
            return self._blobs.vault.incoming(digest, draft.file(digest).size, offset)
        return self._blobs.resumable(draft.id, digest, draft.file(digest).size, offset)

    def shown(self, draft: Draft, digest: Digest) -> None:
        """Remember that the member has sent the whole file."""
        with self._database.session(writing=True) as session:
            session.merge(UploadedRow(submission=draft.id, digest=digest))

    def draft(self, identifier: str, member: str) -> Draft:
        """Raises `NotFound`, also for somebody else's."""
        with self._database.session() as session:
            row = session.get(DraftRow, identifier)
        if row is None or row.member != member:
            raise NotFound(f"You have no open submission {identifier[:80]!r}.", "Submit it again.")
        return Draft(row.id, row.state, statements.read(row.envelope), row.envelope)

    def commit(self, draft: Draft) -> Entry:
        """Screen and record. Raises `Conflict` with the reasons of a rejection; idempotent."""
        if entry := self._journal.find(draft.claimed.payload):
            return entry
        if missing := self.missing(draft):
            raise Conflict(f"{len(missing)} files of {draft.id} are still missing.", "Upload them first.")
        findings = self._screen(draft.claim)
        refused = screening.rejected(findings)
        self._keep(draft, findings, "rejected" if refused else "open")
        if refused:
            raise Conflict(f"{draft.id} was rejected: " + " ".join(finding.message for finding in refused))
        entry = self._journal.record(draft.envelope, draft.claim.signer)
        self._keep(draft, findings, "accepted")
        return entry

    def drafts(self, member: str) -> list[Draft]:
        """A member's open and rejected submissions."""
        query = select(DraftRow).where(DraftRow.member == member, DraftRow.state != "accepted")
        with self._database.session() as session:
            rows = session.exec(query.order_by(col(DraftRow.opened_at))).all()
        return [Draft(row.id, row.state, statements.read(row.envelope), row.envelope) for row in rows]

    def findings(self, identifier: str) -> list[Finding]:
        with self._database.session() as session:
            rows = session.exec(select(FindingRow).where(FindingRow.submission == identifier)).all()
        return [Finding(row.rule, _severity(row.severity), row.message) for row in rows]

    def suite_tasks(self, files: tuple[FileEntry, ...]) -> list[str]:
        """The names of an accepted suite's tasks."""
        return [task.name for task in screening.read_suite(self._paths(files)).tasks]

    def _screen(self, claim: Dataset | Suite) -> list[Finding]:
        paths = self._paths(claim.files)
        if isinstance(claim, Dataset):
            return screening.screen_dataset(claim, paths, self._suite_passages())
        return screening.screen_suite(claim.licence, paths, self._dataset_passages())[0]

    def _suite_passages(self) -> frozenset[bytes]:
        found: set[bytes] = set()
        with self._database.session() as session:
            suites = catalogue.suites(session)
        for suite in suites:
            files = self._paths(suite.files)
            for task in screening.read_suite(files).tasks:
                for row in screening.suite_rows(task, files[task.data]):
                    for text in screening.strings(row):
                        found |= screening.passages(text)
        return frozenset(found)

    def _dataset_passages(self) -> frozenset[bytes]:
        with self._database.session() as session:
            datasets = catalogue.datasets(session)
        found: set[bytes] = set()
        for dataset in datasets:
            shards = [(file, self._blobs.path(Digest(file.digest))) for file in dataset.files if file.rows]
            for text in screening.dataset_texts(shards):
                found |= screening.passages(text)
        return frozenset(found)

    def _paths(self, files: tuple[FileEntry, ...]) -> dict[str, Path]:
        return {file.path: self._blobs.path(Digest(file.digest)) for file in files}

    def _keep(self, draft: Draft, findings: list[Finding], state: str) -> None:
        with self._database.session(writing=True) as session:
            row = session.get(DraftRow, draft.id)
            if row is not None:
                row.state = state
                session.add(row)
            session.exec(delete(FindingRow).where(col(FindingRow.submission) == draft.id))
            session.add_all(
                FindingRow(submission=draft.id, rule=f.rule, severity=f.severity, message=f.message) for f in findings
            )

    def _check_space(self, claim: Dataset | Suite) -> None:
        size = sum(file.size for file in claim.files)
        if size > self._blobs.free_bytes() // 2:
            raise Conflict(f"The hub has no room for {size} bytes.", "Ask the core team to enlarge its disk.")


def _check_files(claim: Dataset | Suite) -> None:
    paths = [file.path for file in claim.files]
    if len(set(paths)) != len(paths):
        raise Invalid("The manifest names a path twice.", field="files")
    if large := [file.path for file in claim.files if not 0 < file.size <= MAX_FILE]:
        raise Invalid(f"{large[0]} is empty or larger than {MAX_FILE} bytes.", field="files")


def _severity(text: str) -> screening.Severity:
    return "reject" if text == "reject" else "warning" if text == "warning" else "info"
