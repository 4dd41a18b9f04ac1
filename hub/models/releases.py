"""What a release holds, and its publication: the hub proposes, a core member signs, the hub checks that it signed just that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.journal import Entry, Journal
from hub.members.directory import key_of
from hub.models import registry
from hub.models.card import DataLine, Facts, RoundLine, model_card
from hub.models.tables import ModelRow
from hub.submissions import catalogue
from protos.documents.base import FileEntry
from protos.documents.evaluations import TaskScore
from protos.documents.models import Release
from trust.bundles import open_bundle
from trust.canonical import emit
from trust.digests import digest_bytes
from trust.errors import Conflict, Denied, Invalid

CARD = "README.md"
PROVENANCE = "provenance.json"

ScoresOf = Callable[[Session, str], Sequence[tuple[str, TaskScore]]]
"""(suite name, score) of a model; the evaluation room's, which stands above this one."""


class Releases:
    """Blocking."""

    def __init__(self, *, database: Database, blobs: BlobStore, journal: Journal, scores_of: ScoresOf) -> None:
        self._database, self._blobs, self._journal, self._scores_of = database, blobs, journal, scores_of

    def prepare(self, model: str, version: str) -> list[FileEntry]:
        """The files of a release: the model's, its card and its provenance. Raises `NotFound`, `Invalid`."""
        with self._database.session() as session:
            rows = registry.lineage(session, model)
            facts = self._facts(session, rows, version)
            provenance = _provenance(session, rows, facts, self._journal.origin)
        files = registry.files(rows[0])
        return [*files, self._file(CARD, model_card(facts).encode()), self._file(PROVENANCE, emit(provenance))]

    def publish(self, envelope: bytes, bundle: bytes, member: str) -> Entry:
        """Record a signed release. Raises `Denied` or `Conflict` when it is not what the hub proposes."""
        claim = self._journal.read(envelope, member).claim
        if not isinstance(claim, Release):
            raise Invalid("This call takes a signed release.")
        proposed = {file.path: file.digest for file in self.prepare(claim.model, claim.version)}
        if {file.path: file.digest for file in claim.files} != proposed:
            raise Conflict(
                "The release is not what the hub proposes now.", "New scores may have come in: cut it again."
            )
        with self._database.session() as session:
            key = key_of(session, member)
        signed = open_bundle(bundle, key)
        if digest_bytes(bundle) != claim.bundle or dict(signed.files) != proposed:
            raise Denied("The signature bundle does not cover the release's files.")
        self._blobs.put(bundle)
        return self._journal.record(envelope, member)

    def _file(self, path: str, data: bytes) -> FileEntry:
        """Stored, so that it can be fetched once the release is recorded."""
        return FileEntry(path=path, digest=self._blobs.put(data), size=len(data))

    def _facts(self, session: Session, rows: Sequence[ModelRow], version: str) -> Facts:
        data = [
            DataLine(used.dataset, dataset.name, used.member, dataset.domain, used.licence, used.tokens)
            for row in rows
            for used in registry.data_used(row)
            for dataset in [catalogue.get(session, used.dataset)]
        ]
        rounds = [
            RoundLine(row.id, part.member, part.examples, part.weight)
            for row in reversed(rows)
            for part in registry.contributions(row)
            if not part.excluded
        ]
        return Facts(
            hub=self._journal.origin,
            model=rows[0].id,
            version=version,
            architecture=rows[0].architecture,
            parameters=rows[0].parameters,
            tokens=rows[-1].tokens,
            lineage=[row.id for row in rows],
            code_version=rows[0].code_version,
            data=data,
            rounds=rounds,
            scores=self._scores_of(session, rows[0].id),
        )


def _provenance(session: Session, rows: Sequence[ModelRow], facts: Facts, origin: str) -> dict[str, Any]:
    """Digests of every statement and file that the model comes from, for machines."""
    return {
        "hub": origin,
        "model": facts.model,
        "version": facts.version,
        "models": [
            {
                "model": row.id,
                "ledger_entry": row.index,
                "payload": row.payload,
                "source": row.source,
                "round": row.round,
                "code_version": row.code_version,
                "files": row.files,
                "contributions": [part.model_dump(mode="json") for part in registry.contributions(row)],
            }
            for row in rows
        ],
        "data": [
            {
                **used.model_dump(mode="json"),
                "files": [file.model_dump(mode="json") for file in catalogue.get(session, used.dataset).files],
            }
            for row in rows
            for used in registry.data_used(row)
        ],
    }
