"""What a release holds, and its publication: the hub proposes, a core member signs, the hub checks that it signed just that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.members.directory import key_of
from hub.models import registry
from hub.models.card import DataLine, Facts, RoundLine, ScoreLine, model_card
from hub.models.origins import import_of
from hub.models.tables import ModelRow
from hub.submissions import catalogue
from protos.documents.base import FileEntry
from protos.documents.models import Model, Release, Version
from trust.bundles import open_bundle
from trust.canonical import emit
from trust.digests import Digest, digest_bytes
from trust.errors import Conflict, Denied, Invalid

CARD = "README.md"
PROVENANCE = "provenance.json"

ScoresOf = Callable[[Session, str], Sequence[ScoreLine]]
"""What a model got in the evaluations; the evaluation room's, which stands above this one."""


class Releases:
    """Blocking."""

    def __init__(self, *, database: Database, blobs: BlobStore, journal: Journal, scores_of: ScoresOf) -> None:
        self._database, self._blobs, self._journal, self._scores_of = database, blobs, journal, scores_of

    def prepare(self, model: str, version: str) -> list[FileEntry]:
        """The files of a release: the model's, its card and its provenance. Raises `NotFound`, `Invalid`.

        The same ledger gives the same bytes, so that what a core member signs can be compared with what is proposed.
        """
        _check_version(version)
        with self._database.session() as session:
            rows = registry.lineage(session, model)
            facts = self._facts(session, rows, version)
            data = _data(session, rows)
        provenance = self._provenance(rows, facts, data)
        files = registry.files(rows[0])
        return [*files, self._file(CARD, model_card(facts).encode()), self._file(PROVENANCE, emit(provenance))]

    def publish(self, envelope: bytes, bundle: bytes, member: str) -> Entry:
        """Record a signed release; the same one again answers with the first entry.

        Raises `Denied` or `Conflict` when it is not what the hub proposes.
        """
        claimed = self._journal.read(envelope, member)
        claim = claimed.claim
        if not isinstance(claim, Release):
            raise Invalid("This call takes a signed release.")
        if entry := self._journal.find(claimed.payload):
            return entry
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
        if skipped := [
            path for path in proposed for left in signed.ignored if path == left or path.startswith(f"{left}/")
        ]:
            raise Denied(f"The signature bundle leaves {skipped[0]} out.")
        self._blobs.put(bundle)
        return self._journal.record(envelope, member)

    def _file(self, path: str, data: bytes) -> FileEntry:
        """Stored, so that it can be fetched once the release is recorded."""
        return FileEntry(path=path, digest=self._blobs.put(data), size=len(data))

    def _facts(self, session: Session, rows: Sequence[ModelRow], version: str) -> Facts:
        data = [
            DataLine(used.dataset, dataset.name, used.member, dataset.domain, used.licence, used.tokens)
            for used in registry.data_of(rows)
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
            taken_in=(taken.licence, taken.provenance) if (taken := import_of(self._journal, rows[-1])) else None,
            scores=sorted(self._scores_of(session, rows[0].id), key=lambda line: (line.suite, line.score.task)),
        )

    def _provenance(self, rows: Sequence[ModelRow], facts: Facts, data: list[dict[str, Any]]) -> dict[str, Any]:
        """For machines: the bill of materials, with the digest and ledger entry of every statement the model comes from."""
        return {
            "format": "coalition-provenance/v1",
            "hub": facts.hub,
            "model": facts.model,
            "version": facts.version,
            "models": [self._model(row) for row in rows],
            "data": [{**used, "ledger_entry": self._position(used["payload"])} for used in data],
            "evaluations": [
                {
                    "evaluation": line.evaluation,
                    "ledger_entry": line.ledger_entry,
                    "suite": line.suite,
                    "suite_payload": line.suite_payload,
                    "samples": line.samples,
                    "score": line.score.model_dump(mode="json"),
                }
                for line in facts.scores
            ],
        }

    def _model(self, row: ModelRow) -> dict[str, Any]:
        entry = self._journal.find(Digest(row.payload))
        source = entry.claim.payload if entry and isinstance(entry.claim, Model) else ""
        return {
            "model": row.id,
            "ledger_entry": row.index,
            "payload": row.payload,
            "origin": row.origin,
            "source": {"id": row.source, "payload": source, "ledger_entry": self._position(source)},
            "round": row.round,
            "code_version": row.code_version,
            "files": row.files,
            "contributions": [part.model_dump(mode="json") for part in registry.contributions(row)],
        }

    def _position(self, payload: str) -> int | None:
        """Where a statement stands in the ledger."""
        entry = self._journal.find(Digest(payload))
        return entry.index if entry else None


def _data(session: Session, rows: Sequence[ModelRow]) -> list[dict[str, Any]]:
    """Every dataset that entered, with its files."""
    return [
        {
            **used.model_dump(mode="json"),
            "files": [file.model_dump(mode="json") for file in catalogue.get(session, used.dataset).files],
        }
        for used in registry.data_of(rows)
    ]


def _check_version(version: str) -> None:
    try:
        TypeAdapter(Version).validate_python(version)
    except ValidationError:
        raise Invalid(
            f"{version[:80]!r} is no version.", "Use lower-case letters, digits, points and hyphens.", field="version"
        ) from None
