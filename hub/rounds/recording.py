"""From files to facts: a finished round's model in the ledger, and a recorded model back in a directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.registry import ModelRow
from hub.models.weights import parameter_count
from hub.rounds import standings
from hub.rounds.plan import RoundResult, entries, read_result, round_directory
from hub.rounds.projection import existing
from hub.version import code_version
from protos.documents.base import FileEntry
from protos.documents.models import Model
from protos.documents.statements import HUB
from trust.digests import Digest
from trust.errors import Conflict

ADAPTER = "adapter.safetensors"


class Recorder:
    """Blocking; call it from a worker thread."""

    def __init__(self, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal

    def record_finished(self, campaign: str, directory: Path) -> list[Model]:
        """Record every round that lies finished in the directory and is the next one; the models, in order."""
        recorded: list[Model] = []
        while (claim := self._next(campaign, directory)) is not None:
            self._journal.sign_and_record(claim)
            recorded.append(claim)
        return recorded

    def lay_out_parent(self, campaign: str, directory: Path) -> int:
        """Put the model that the next round starts from into `parent/`, and remove rounds that are recorded; its number."""
        with self._database.session() as session:
            done, parent = _parent(session, campaign)
            files = registry.files(parent)
        shutil.rmtree(directory / "rounds", ignore_errors=True)
        fresh = directory / "parent.partial"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for entry in files:
            shutil.copyfile(self._blobs.path(Digest(entry.digest)), fresh / entry.path)
        shutil.rmtree(directory / "parent", ignore_errors=True)
        fresh.rename(directory / "parent")
        return done + 1

    def _next(self, campaign: str, directory: Path) -> Model | None:
        with self._database.session() as session:
            row = existing(session, campaign)
            done, parent = _parent(session, campaign)
            result = read_result(directory, done + 1)
            if row.outcome or row.stop or result is None:
                return None
            name = registry.next_round_id(session, row.base_model)
            started_from = registry.files(parent)
        _check_parent(result, campaign, started_from)
        folder = round_directory(directory, result.round)
        model = folder / "model"
        files = entries(model, list(model.iterdir()))
        for entry in files:
            self._blobs.put_file(model / entry.path)
        return Model(
            hub=self._journal.origin,
            signer=HUB,
            model=name,
            parent=parent.id,
            origin="round",
            source=campaign,
            payload=row.payload,
            round=result.round,
            parameters=parameter_count(sorted(model.glob("*.safetensors"))),
            architecture=parent.architecture,
            tokens=parent.tokens + result.tokens,
            files=files,
            contributions=result.contributions,
            update=self._blobs.put_file(folder / ADAPTER),
            code_version=code_version(),
        )


def _check_parent(result: RoundResult, campaign: str, parent: list[FileEntry]) -> None:
    """That a result belongs behind the model it is about to follow."""
    if result.campaign != campaign or {(f.path, f.digest) for f in result.parent} != {
        (f.path, f.digest) for f in parent
    }:
        raise Conflict(f"The files of round {result.round} do not belong to {campaign}.")


def _parent(session: Session, campaign: str) -> tuple[int, ModelRow]:
    """(rounds done, the model that the next one starts from)."""
    done = standings.rounds(session, campaign)
    return len(done), registry.get(session, done[-1].model if done else existing(session, campaign).base_model)
