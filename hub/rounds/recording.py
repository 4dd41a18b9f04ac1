"""From files to facts: a finished round's model in the ledger, and a recorded model back in a directory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.weights import parameter_count
from hub.rounds import heldout, standings
from hub.rounds.plan import (
    Past,
    RoundResult,
    entries,
    past_file,
    read_result,
    round_directory,
    update_file,
    write_document,
)
from hub.rounds.projection import existing
from hub.submissions import catalogue
from hub.version import code_version
from protos.documents.base import FileEntry
from protos.documents.models import DataUsed, Model
from protos.documents.rounds import Learned
from protos.documents.statements import HUB
from trust.digests import Digest
from trust.errors import Corrupt

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
        """Put the model that the next round starts from into `parent/`, and remove rounds that are recorded; its number.

        A strategy that looks back finds the recorded updates in `updates/`, one that measures its text in `held-out/`.
        """
        with self._database.session() as session:
            parent = _parent(session, campaign)
            spec = standings.spec_of(existing(session, campaign))
            done = standings.rounds(session, campaign) if spec.looks_back else []
            payloads = [Digest(registry.get(session, each.model).payload) for each in done]
            measured_on = heldout.held_out(session, spec.quality) if spec.quality else None
        if measured_on is not None:
            heldout.lay_out(measured_on, self._blobs, directory)
        shutil.rmtree(directory / "rounds", ignore_errors=True)
        fresh = directory / "parent.partial"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for entry in parent.files:
            self._blobs.copy_out(Digest(entry.digest), fresh / entry.path)
        shutil.rmtree(directory / "parent", ignore_errors=True)
        fresh.rename(directory / "parent")
        self._lay_out_updates(directory, payloads)
        return parent.done + 1

    def _lay_out_updates(self, directory: Path, payloads: list[Digest]) -> None:
        """The update of every round, from the statement of its model."""
        shutil.rmtree(directory / "updates", ignore_errors=True)
        for number, payload in enumerate(payloads, start=1):
            entry = self._journal.find(payload)
            if entry is None or not isinstance(entry.claim, Model) or entry.claim.update is None:
                raise Corrupt(f"The ledger names no update of round {number}.")
            path = update_file(directory, number)
            path.parent.mkdir(exist_ok=True)
            self._blobs.copy_out(Digest(entry.claim.update), path)
            write_document(past_file(directory, number), Past(contributions=entry.claim.contributions))

    def _next(self, campaign: str, directory: Path) -> Model | None:
        with self._database.session() as session:
            row = existing(session, campaign)
            parent = _parent(session, campaign)
            result = read_result(directory, parent.done + 1)
            if row.outcome or row.stop or result is None:
                return None
            name = registry.next_round_id(session, row.base_model)
            data = _data_used(session, result.data)
        folder = round_directory(directory, result.round)
        if not _follows(result, campaign, parent.files):
            shutil.rmtree(folder)  # of another time, as after a restored backup
            return None
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
            data=data,
            contributions=result.contributions,
            update=self._blobs.put_file(folder / ADAPTER),
            code_version=code_version(),
        )


def _data_used(session: Session, learned: tuple[Learned, ...]) -> tuple[DataUsed, ...]:
    """What the sites say they learned from, as the ledger has it."""
    tokens = {each.dataset: each.tokens for each in learned}
    return tuple(
        DataUsed(
            dataset=dataset.id,
            payload=dataset.payload,
            member=dataset.member,
            licence=dataset.licence,
            tokens=tokens[dataset.id],
        )
        for dataset in (catalogue.datasets(session, list(tokens)) if tokens else ())
    )


def _follows(result: RoundResult, campaign: str, parent: list[FileEntry]) -> bool:
    """Whether a result belongs behind the model it is about to follow."""
    started_from = {(file.path, file.digest) for file in result.parent}
    return result.campaign == campaign and started_from == {(file.path, file.digest) for file in parent}


@dataclass(frozen=True)
class _Parent:
    """The model that a campaign's next round starts from, after `done` rounds."""

    done: int
    id: str
    files: list[FileEntry]
    tokens: int
    architecture: str


def _parent(session: Session, campaign: str) -> _Parent:
    done = standings.rounds(session, campaign)
    row = registry.get(session, done[-1].model if done else existing(session, campaign).base_model)
    return _Parent(len(done), row.id, registry.files(row), row.tokens, row.architecture)
