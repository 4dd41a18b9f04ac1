"""What was accepted, for the rooms that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from sqlmodel import Session, col, select

from hub.submissions.tables import SubmissionRow
from protos.documents.base import FileEntry
from protos.documents.placing import AT_HOME, Category, Place, Terms, may_use
from protos.documents.submissions import DatasetFile
from trust.digests import Digest
from trust.errors import Invalid, NotFound

File = TypeVar("File", bound=FileEntry)


@dataclass(frozen=True)
class Accepted(Generic[File]):
    """A submission as others see it. Only datasets have a category and a jurisdiction."""

    id: str
    payload: Digest
    name: str
    version: str
    domain: str
    licence: str
    member: str
    files: tuple[File, ...]
    visibility: str = ""
    category: str = ""
    jurisdiction: tuple[str, ...] = ()
    index: int = 0
    withdrawn_at: str = ""
    withdrawn_index: int | None = None
    quarantined_index: int | None = None

    @property
    def stands(self) -> bool:
        """Neither withdrawn nor quarantined: it may be used."""
        return self.withdrawn_index is None and self.quarantined_index is None

    @property
    def terms(self) -> Terms:
        """Of a dataset: what its owner says about its use."""
        return Terms(self.id, cast(Category, self.category), self.jurisdiction, self.member)

    @property
    def at_home(self) -> bool:
        """Whether its files never left its owner's site."""
        return self.category in AT_HOME


def datasets(session: Session, ids: Sequence[str] = ()) -> list[Accepted[DatasetFile]]:
    """Accepted datasets, oldest first: those named, or all. Raises `NotFound` for an unknown one."""
    found = [_accepted(row, DatasetFile) for row in _rows(session, "dataset")]
    if unknown := set(ids) - {dataset.id for dataset in found}:
        raise NotFound(f"There is no accepted dataset {min(unknown)}.", "See `coalition data list`.")
    return [dataset for dataset in found if not ids or dataset.id in ids]


def held(session: Session) -> list[Accepted[DatasetFile]]:
    """Accepted datasets whose text is here and may be read, oldest first."""
    return [dataset for dataset in datasets(session) if not dataset.at_home and dataset.stands]


def standing(session: Session, kind: str) -> set[str]:
    """Identifiers of the accepted datasets or suites that are here and stand (`Accepted.stands`)."""
    query = select(SubmissionRow.id).where(
        SubmissionRow.kind == kind,
        col(SubmissionRow.withdrawn_index).is_(None),
        col(SubmissionRow.quarantined_index).is_(None),
        col(SubmissionRow.category).not_in(AT_HOME),
    )
    return set(session.exec(query))


def for_run(session: Session, ids: Sequence[str], before: int | None = None) -> list[Accepted[DatasetFile]]:
    """What a base run trains on: the datasets named, or all that may leave their sites; of those below entry `before`.

    What was withdrawn or quarantined after that entry is among them. Raises `NotFound` for an unknown one, `Invalid` for one
    that stays at home, or was withdrawn or quarantined before.
    """
    named = datasets(session, ids)
    gone = {dataset.id for dataset in named if not _stood(dataset, before)}
    if ids and gone:
        raise Invalid(f"{min(gone)} was withdrawn or quarantined.", "Train without it.", field="data.datasets")
    if ids and (kept := [dataset for dataset in named if dataset.at_home]):
        raise Invalid(f"{may_use(kept[0].terms, Place('node', ''))}.", "Campaigns train on it.", field="data.datasets")
    usable = (dataset for dataset in named if not dataset.at_home and dataset.id not in gone)
    return [dataset for dataset in usable if before is None or dataset.index < before]


def _stood(dataset: Accepted[DatasetFile], before: int | None) -> bool:
    ends = (dataset.withdrawn_index, dataset.quarantined_index)
    return all(end is None or (before is not None and end >= before) for end in ends)


def suites(session: Session, size: int | None = None) -> list[Accepted[FileEntry]]:
    """Accepted suites, oldest first; with `size`, those that the ledger's first entries record."""
    return [_accepted(row, FileEntry) for row in _rows(session, "suite") if size is None or row.index < size]


def rewards(session: Session) -> list[Accepted[FileEntry]]:
    """Accepted reward policies, oldest first. What they say stands in their statements."""
    return [_accepted(row, FileEntry) for row in _rows(session, "reward")]


def get(session: Session, identifier: str) -> Accepted[FileEntry]:
    """A submission of any kind. Raises `NotFound`."""
    row = session.get(SubmissionRow, identifier)
    if row is None:
        raise NotFound(f"There is no submission {identifier[:80]!r}.")
    return _accepted(row, DatasetFile if row.kind == "dataset" else FileEntry)


def tally(session: Session) -> dict[str, dict[str, int]]:
    """Per member: datasets, suites and bytes of accepted data."""
    counts: dict[str, dict[str, int]] = {}
    for row in session.exec(select(SubmissionRow).where(SubmissionRow.kind != "reward")):
        numbers = counts.setdefault(row.member, {"datasets": 0, "suites": 0, "data_size": 0})
        numbers["suites" if row.kind == "suite" else "datasets"] += 1
        numbers["data_size"] += row.size if row.kind == "dataset" else 0
    return counts


def _rows(session: Session, kind: str) -> Sequence[SubmissionRow]:
    return session.exec(
        select(SubmissionRow).where(SubmissionRow.kind == kind).order_by(col(SubmissionRow.index))
    ).all()


def _accepted(row: SubmissionRow, schema: type[File]) -> Accepted[File]:
    files = tuple(schema.read(file) for file in row.files)
    return Accepted(
        *(row.id, Digest(row.payload), row.name, row.version, row.domain, row.licence, row.member, files),
        visibility=row.visibility,
        category=row.category,
        jurisdiction=tuple(row.jurisdiction),
        index=row.index,
        withdrawn_at=row.withdrawn_at,
        withdrawn_index=row.withdrawn_index,
        quarantined_index=row.quarantined_index,
    )
