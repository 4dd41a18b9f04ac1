"""gRPC: model versions, their lineage, and releases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from hub.callers import caller
from hub.database import Database
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.origins import import_of
from hub.models.releases import Releases
from hub.models.tables import ModelRow, ReleaseRow
from hub.submissions import catalogue
from protos.coalition.v1 import common_pb2, models_pb2, models_pb2_grpc
from protos.documents.base import FileEntry


class ModelsService(models_pb2_grpc.ModelsServicer):
    """List, show, and say what is in a model."""

    def __init__(self, *, database: Database, journal: Journal) -> None:
        self._database, self._journal = database, journal

    async def ListModels(self, request: models_pb2.ListModelsRequest, context: Any) -> models_pb2.ListModelsResponse:
        def models() -> list[models_pb2.Model]:
            with self._database.session() as session:
                gone = _withdrawn(session)
                return [_model(row, gone[row.id]) for row in registry.all_models(session)]

        return models_pb2.ListModelsResponse(models=await asyncio.to_thread(models))

    async def GetModel(self, request: common_pb2.ById, context: Any) -> models_pb2.Model:
        def show() -> models_pb2.Model:
            with self._database.session() as session:
                row = registry.get(session, request.id)
                message = _model(row, _withdrawn(session)[row.id])
            if taken := import_of(self._journal, row):
                message.licence, message.provenance = taken.licence, taken.provenance
            message.receipt.CopyFrom(self._journal.receipt(row.index))
            return message

        return await asyncio.to_thread(show)

    async def GetLineage(self, request: common_pb2.ById, context: Any) -> models_pb2.Lineage:
        def trace() -> models_pb2.Lineage:
            with self._database.session() as session:
                return _lineage(session, registry.lineage(session, request.id))

        return await asyncio.to_thread(trace)


class ReleasesService(models_pb2_grpc.ReleasesServicer):
    """Propose, publish, list, show."""

    def __init__(self, *, database: Database, journal: Journal, releases: Releases) -> None:
        self._database, self._journal, self._releases = database, journal, releases

    async def PrepareRelease(
        self, request: models_pb2.PrepareReleaseRequest, context: Any
    ) -> models_pb2.PreparedRelease:
        files = await asyncio.to_thread(self._releases.prepare, request.model, request.version)
        return models_pb2.PreparedRelease(files=_files(files))

    async def PublishRelease(self, request: models_pb2.PublishReleaseRequest, context: Any) -> common_pb2.Recorded:
        entry = await asyncio.to_thread(self._releases.publish, request.envelope, request.bundle, caller().id)
        receipt = await asyncio.to_thread(self._journal.receipt, entry.index)
        return common_pb2.Recorded(id=entry.id, receipt=receipt)

    async def ListReleases(
        self, request: models_pb2.ListReleasesRequest, context: Any
    ) -> models_pb2.ListReleasesResponse:
        def rows() -> Sequence[ReleaseRow]:
            with self._database.session() as session:
                return registry.all_releases(session)

        return models_pb2.ListReleasesResponse(releases=[_release(row) for row in await asyncio.to_thread(rows)])

    async def GetRelease(self, request: common_pb2.ById, context: Any) -> models_pb2.Release:
        def show() -> models_pb2.Release:
            with self._database.session() as session:
                row = registry.get_release(session, request.id)
            message = _release(row)
            message.receipt.CopyFrom(self._journal.receipt(row.index))
            return message

        return await asyncio.to_thread(show)


def _withdrawn(session: Session) -> dict[str, list[str]]:
    """Per model version: the datasets that reached it and were withdrawn since."""
    gone = {dataset.id for dataset in catalogue.datasets(session) if dataset.withdrawn_at}
    return {model: sorted(data & gone) for model, data in registry.reached(session).items()}


def _model(row: ModelRow, withdrawn: Sequence[str]) -> models_pb2.Model:
    return models_pb2.Model(
        withdrawn=withdrawn,
        id=row.id,
        parent=row.parent,
        origin=row.origin,
        source=row.source,
        round=row.round,
        parameters=row.parameters,
        files=_files(registry.files(row)),
        recorded_at=row.recorded_at,
        architecture=row.architecture,
        tokens=row.tokens,
    )


def _lineage(session: Session, rows: Sequence[ModelRow]) -> models_pb2.Lineage:
    gone = _withdrawn(session)
    lineage = models_pb2.Lineage(models=[_model(row, gone[row.id]) for row in rows])
    for row in rows:
        for part in registry.contributions(row):
            weight = 0.0 if part.excluded else part.weight
            lineage.members.add(model=row.id, member=part.member, examples=part.examples, weight=weight)
    for used in registry.data_of(rows):
        dataset = catalogue.get(session, used.dataset)
        lineage.data.add(
            dataset=used.dataset,
            name=dataset.name,
            member=used.member,
            domain=dataset.domain,
            licence=used.licence,
            tokens=used.tokens,
            payload=used.payload,
            withdrawn_at=dataset.withdrawn_at,
            category=dataset.category,
        )
    return lineage


def _release(row: ReleaseRow) -> models_pb2.Release:
    return models_pb2.Release(
        version=row.version,
        model=row.model,
        member=row.member,
        recorded_at=row.recorded_at,
        files=_files([FileEntry.read(file) for file in row.files]),
        bundle=row.bundle,
        envelope=row.envelope,
    )


def _files(files: Sequence[FileEntry]) -> list[common_pb2.File]:
    return [common_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in files]
