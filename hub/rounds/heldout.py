"""The text that a campaign holds out, by which updates are measured: which it may be, and where the server app finds it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.submissions import catalogue
from hub.submissions.catalogue import Accepted
from protos.documents.methods import Quality
from protos.documents.placing import FOR_MEMBERS
from protos.documents.submissions import DatasetFile
from protos.formats.texts import text_rows
from trust.digests import Digest
from trust.errors import Invalid

FOLDER = "held-out"


def held_out(session: Session, quality: Quality) -> Accepted[DatasetFile]:
    """The dataset, which every member may read and compute with again. Raises `NotFound`, `Invalid`."""
    (dataset,) = catalogue.datasets(session, [quality.dataset])
    if dataset.category not in FOR_MEMBERS:
        raise Invalid(
            f"{dataset.id} is {dataset.category}: members could not check what is measured with it.",
            "Name an open dataset.",
            field="quality.dataset",
        )
    if not dataset.stands:
        raise Invalid(f"{dataset.id} was withdrawn or quarantined.", "Name another one.", field="quality.dataset")
    return dataset


def lay_out(dataset: Accepted[DatasetFile], blobs: BlobStore, directory: Path) -> None:
    """Put its files into the campaign's directory, in their order."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)
    (directory / FOLDER).mkdir(parents=True)
    for number, file in enumerate(dataset.files):
        blobs.copy_out(Digest(file.digest), directory / FOLDER / f"{number:05d}{Path(file.path).suffix}")


def texts(directory: Path) -> Iterator[str]:
    """What was laid out."""
    for path in sorted((directory / FOLDER).iterdir()):
        yield from (row["text"] for _, row in text_rows(path, path.name))
