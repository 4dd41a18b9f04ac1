"""gRPC: submissions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlmodel import Session, col, select

from hub.callers import Caller, caller
from hub.database import Database
from hub.ledger import grants
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.submissions import catalogue
from hub.submissions.intake import Draft, Intake
from hub.submissions.screening.findings import Finding
from hub.submissions.tables import SubmissionRow
from hub.submissions.uploads import Uploads
from hub.witnesses.finality import Finality
from protos.coalition.v1 import common_pb2, submissions_pb2, submissions_pb2_grpc
from protos.documents.base import FileEntry
from protos.documents.placing import AT_HOME
from protos.documents.submissions import Dataset, Suite, Withdrawal
from trust.errors import Denied, Invalid, NotFound

PATIENCE = 8.0  # seconds that a commit waits for screening before it answers that it goes on
PAGE, LARGEST_PAGE = 200, 1000
PAGE_BYTES = 4 << 20
"""A page ends early beyond so many bytes: a manifest may name a thousand files."""


class SubmissionsService(submissions_pb2_grpc.SubmissionsServicer):
    """Open, upload, commit; list and show."""

    def __init__(self, database: Database, journal: Journal, intake: Intake, finality: Finality) -> None:
        self._database, self._journal, self._intake, self._finality = database, journal, intake, finality
        self._uploads = Uploads(intake)

    async def Open(self, request: common_pb2.SignedStatement, context: Any) -> submissions_pb2.OpenResponse:
        who = caller()
        opened = await asyncio.to_thread(self._intake.open, request.envelope, who.id, who.delegation)
        if isinstance(opened, Entry):
            existing = await asyncio.to_thread(self._stored, opened.id, who)
            return submissions_pb2.OpenResponse(id=opened.id, existing=existing)
        missing = await asyncio.to_thread(self._intake.missing, opened)
        return submissions_pb2.OpenResponse(
            id=opened.id,
            missing=[submissions_pb2.Missing(digest=digest, offset=offset) for digest, offset in missing],
        )

    async def Upload(
        self, request_iterator: AsyncIterator[submissions_pb2.UploadChunk], context: Any
    ) -> submissions_pb2.UploadResponse:
        offset, complete = await self._uploads.receive(caller(), request_iterator)
        return submissions_pb2.UploadResponse(offset=offset, complete=complete)

    async def Commit(self, request: common_pb2.ById, context: Any) -> submissions_pb2.Submission:
        who = caller()
        draft = await asyncio.to_thread(self._intake.draft, request.id, who.id, who.delegation)
        recorded = asyncio.wrap_future(await asyncio.to_thread(self._intake.start, draft))
        await asyncio.wait({recorded}, timeout=PATIENCE)  # leaves it running
        if not recorded.done():
            recorded.add_done_callback(lambda future: future.exception())  # nobody waits for it any more
            return await asyncio.to_thread(self._show, draft.id, who)
        return await asyncio.to_thread(self._stored, recorded.result().id, who)

    async def ListSubmissions(
        self, request: submissions_pb2.ListSubmissionsRequest, context: Any
    ) -> submissions_pb2.ListSubmissionsResponse:
        if request.kind not in ("", "dataset", "suite", "reward"):
            raise Invalid(f"{request.kind[:20]!r} is none of dataset, suite and reward.", field="kind")
        after = _after(request.page_token)
        size = min(request.page_size, LARGEST_PAGE) if request.page_size > 0 else PAGE
        return await asyncio.to_thread(self._list, request.kind, caller(), after, size)

    async def GetSubmission(self, request: common_pb2.ById, context: Any) -> submissions_pb2.Submission:
        return await asyncio.to_thread(self._show, request.id, caller())

    async def Withdraw(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._withdraw, request.envelope, caller())

    async def GetPolicy(self, request: submissions_pb2.GetPolicyRequest, context: Any) -> submissions_pb2.Policy:
        return submissions_pb2.Policy(
            licences_allowed=self._intake.policy.licences.allowed,
            licences_denied=self._intake.policy.licences.denied,
            country=self._intake.policy.place.country,
            core_may_withdraw=self._intake.policy.core_may_withdraw,
            purges=self._intake.policy.purge_grace is not None,
            purge_grace_days=self._intake.policy.purge_grace or 0,
        )

    def _withdraw(self, envelope: bytes, who: Caller) -> common_pb2.Recorded:
        claim = self._journal.read(envelope, who.id).claim
        if not isinstance(claim, Withdrawal):
            raise Invalid("This call takes a signed withdrawal.")
        with self._database.session() as session:
            owner = catalogue.get(session, claim.submission).member
        if owner != who.id and not self._intake.policy.core_may_withdraw:
            raise Denied(f"{claim.submission} is {owner}'s: only its owner may withdraw it.")
        entry = self._journal.record(envelope, who.id)
        return common_pb2.Recorded(id=entry.id, receipt=self._journal.receipt(entry.index))

    def _list(self, kind: str, who: Caller, after: int, size: int) -> submissions_pb2.ListSubmissionsResponse:
        page, held = submissions_pb2.ListSubmissionsResponse(), 0
        query = select(SubmissionRow).where(col(SubmissionRow.index) > after).order_by(col(SubmissionRow.index))
        if kind:
            query = query.where(SubmissionRow.kind == kind)
        with self._database.session() as session:
            final = self._finality.size(session)
            for row in session.exec(query.limit(size + 1).execution_options(yield_per=50)):
                if len(page.submissions) == size or held >= PAGE_BYTES:
                    page.next_page_token = str(after)
                    return page
                page.submissions.append(_accepted(session, row, final))
                held, after = held + page.submissions[-1].ByteSize(), row.index
        drafts = [draft for draft in self._intake.drafts(who.id) if kind in ("", draft.claimed.kind)]
        page.submissions.extend(_draft(draft, ()) for draft in drafts)
        return page

    def _show(self, identifier: str, who: Caller) -> submissions_pb2.Submission:
        try:
            return self._stored(identifier, who)
        except NotFound:
            for draft in self._intake.drafts(who.id):
                if draft.id == identifier:
                    found = _draft(draft, self._intake.findings(identifier))
                    found.screened_rows = self._intake.screened_rows(draft)
                    return found
            raise

    def _stored(self, identifier: str, who: Caller) -> submissions_pb2.Submission:
        """One accepted submission in full; what screening found is for its owner and the core team."""
        with self._database.session() as session:
            row, final = session.get(SubmissionRow, identifier), self._finality.size(session)
            if row is None:
                raise NotFound(
                    f"There is no submission {identifier[:80]!r}.", "See `coalition data list` and `suite list`."
                )
            message = _accepted(session, row, final)
        message.receipt.CopyFrom(self._journal.receipt(row.index))
        readable = row.visibility != "sealed" or (who.id == row.member and who.reads_sealed)
        if row.kind == "suite" and not message.purged_blobs and readable:
            message.tasks.extend(self._intake.suite_tasks(tuple(FileEntry.read(file) for file in row.files)))
        if who.role == "core" or who.id == row.member:
            message.findings.extend(_findings(self._intake.findings(identifier)))
        return message


def _after(token: str) -> int:
    """The entry of the ledger that the page before ended with; a token is that number. Raises `Invalid`."""
    if not token:
        return -1
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise Invalid("That is no page token of this hub.", "List from the beginning.", field="page_token")
    return int(token)


def _findings(findings: Sequence[Finding]) -> list[submissions_pb2.Finding]:
    return [submissions_pb2.Finding(**finding.model_dump()) for finding in findings]


def _files(files: Sequence[FileEntry]) -> list[common_pb2.File]:
    return [common_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in files]


def _accepted(session: Session, row: SubmissionRow, final: int) -> submissions_pb2.Submission:
    """Accepted, once the witnesses have seen it; quarantined, withdrawn and purged as the ledger says, seen or not."""
    purged = grants.purged_of(session, row.id) if row.withdrawn_at else {}
    blobs = len({file["digest"] for file in row.files}) if row.category not in AT_HOME else 0
    accepted = "accepted" if row.index < final else "pending"
    if row.quarantined_index is not None:
        accepted = "quarantined"
    withdrawn = "purged" if purged and len(purged) == blobs else "withdrawn"
    return submissions_pb2.Submission(
        id=row.id,
        payload=row.payload,
        kind=row.kind,
        name=row.name,
        domain=row.domain,
        licence=row.licence,
        member=row.member,
        state=withdrawn if row.withdrawn_at else accepted,
        withdrawn_at=row.withdrawn_at,
        withdrawn_by=row.withdrawn_by,
        withdrawn_because=row.withdrawn_because,
        withdrawn_index=row.withdrawn_index or 0,
        purged_blobs=len(purged),
        blobs=blobs,
        purged_index=max(purged.values(), default=0),
        rows=row.rows,
        size=row.size,
        files=[common_pb2.File(path=f["path"], digest=f["digest"], size=f["size"]) for f in row.files],
        recorded_at=row.recorded_at,
        visibility=row.visibility,
        version=row.version,
        category=row.category,
        jurisdiction=row.jurisdiction,
    )


def _draft(draft: Draft, findings: Sequence[Finding]) -> submissions_pb2.Submission:
    claim = draft.claim
    return submissions_pb2.Submission(
        id=draft.id,
        payload=draft.claimed.payload,
        kind=draft.claimed.kind,
        name=claim.name,
        domain=claim.domain,
        licence=claim.licence,
        member=claim.signer,
        state=draft.state,
        rows=claim.rows if isinstance(claim, Dataset) else 0,
        size=sum(file.size for file in claim.files),
        files=_files(claim.files),
        findings=_findings(findings),
        version=claim.version if isinstance(claim, Suite) else "",
        visibility=claim.visibility if isinstance(claim, Suite) else "",
        category=claim.category if isinstance(claim, Dataset) else "",
        jurisdiction=claim.jurisdiction if isinstance(claim, Dataset) else (),
    )
