"""What a screening process is asked. One that reads datasets gets paths and hashes, no plaintext of a suite, and no key but of a
sealed suite's hashes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.settings import ScreeningPolicy
from protos.documents.base import Document


class ShardFile(Document):
    """A file of a dataset: what its owner calls it, where its bytes lie, how many rows the manifest says it has."""

    name: str
    path: str
    rows: int


class SuiteGrams(Document):
    """A suite by the name that members know, and the file with the hashes of its runs of words. `readable` by the submitter.

    Of a sealed suite the file is encrypted, with `key` in hexadecimal digits.
    """

    id: str
    suite: str
    path: str
    key: str = ""
    readable: bool = False


class DatasetJob(Document):
    """Screen a dataset. `own` and `others` are accepted datasets of the same member and of others, as the index names them."""

    kind: Literal["dataset"] = "dataset"
    id: str
    licence: str
    rows: int
    files: tuple[ShardFile, ...]
    suites: tuple[SuiteGrams, ...] = ()
    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    index: str
    folder: str = Field(description="Where the course is kept between batches, and the fingerprints at its end.")
    policy: ScreeningPolicy = ScreeningPolicy()


class SuiteFile(Document):
    """A file of a suite, whose bytes follow the job."""

    name: str
    size: int


class SuiteReading(Document):
    """Read a new suite, whose files follow in this order, and leave the hashes of its runs of words where `grams` says."""

    kind: Literal["reading"] = "reading"
    id: str
    licence: str
    files: tuple[SuiteFile, ...]
    grams: SuiteGrams


class HeldDataset(Document):
    """An accepted dataset; `readable` by who submits the suite."""

    id: str
    files: tuple[ShardFile, ...]
    readable: bool = False


class SuiteJob(Document):
    """Look for the runs of a new suite in every accepted dataset."""

    kind: Literal["suite"] = "suite"
    id: str
    grams: SuiteGrams
    datasets: tuple[HeldDataset, ...] = ()
    folder: str = Field(
        description="Where it is noted what was found in which dataset, so that none is looked at twice."
    )


Job = DatasetJob | SuiteReading | SuiteJob
