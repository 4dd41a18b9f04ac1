"""Ledger entries of kind `model` and `release` as rows. Models and releases are for everyone enrolled to read."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session

from hub.ledger.entries import Entry
from hub.ledger.grants import EVERYONE, grant
from hub.ledger.journal import Journal
from hub.models.tables import ModelRow, ReleaseRow
from protos.documents.models import Model, Release
from protos.documents.statements import Claimed
from trust.errors import Conflict, NotFound


def register(journal: Journal) -> None:
    journal.register("model", project=_model, check=_check_model)
    journal.register("release", project=_release, check=_check_release)


def _check_model(session: Session, claimed: Claimed) -> None:
    claim = cast(Model, claimed.claim)
    if session.get(ModelRow, claim.model):
        raise Conflict(f"There is a model {claim.model} already.")
    if claim.parent and session.get(ModelRow, claim.parent) is None:
        raise NotFound(f"The parent {claim.parent} of {claim.model} is unknown.")


def _model(session: Session, entry: Entry) -> None:
    claim = cast(Model, entry.claim)
    values = claim.model_dump(mode="json")
    session.add(
        ModelRow(
            id=claim.model,
            index=entry.index,
            payload=entry.payload,
            parent=claim.parent or "",
            origin=claim.origin,
            source=claim.source,
            round=claim.round,
            parameters=claim.parameters,
            architecture=claim.architecture,
            tokens=claim.tokens,
            code_version=claim.code_version,
            files=values["files"],
            data=values["data"],
            contributions=values["contributions"],
            recorded_at=entry.time,
        )
    )
    for file in claim.files:
        grant(session, file.digest, EVERYONE)
    if claim.update:
        grant(session, claim.update, EVERYONE)


def _check_release(session: Session, claimed: Claimed) -> None:
    claim = cast(Release, claimed.claim)
    if session.get(ReleaseRow, claim.version):
        raise Conflict(f"The version {claim.version} was released already.", "Choose another version.")
    if session.get(ModelRow, claim.model) is None:
        raise NotFound(f"There is no model {claim.model}.")


def _release(session: Session, entry: Entry) -> None:
    claim = cast(Release, entry.claim)
    session.add(
        ReleaseRow(
            version=claim.version,
            index=entry.index,
            model=claim.model,
            member=claim.signer,
            files=[file.model_dump(mode="json") for file in claim.files],
            bundle=claim.bundle,
            envelope=entry.envelope,
            recorded_at=entry.time,
        )
    )
    for file in claim.files:
        grant(session, file.digest, EVERYONE)
    grant(session, claim.bundle, EVERYONE)
