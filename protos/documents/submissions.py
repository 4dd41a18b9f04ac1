"""Manifests: what a member signs when it submits a dataset or an evaluation suite."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from protos.documents.base import Claim, FileEntry, Licence, Name, Text

Visibility = Literal["hub", "members"]
SuiteVisibility = Literal["hub", "members", "sealed"]


class DatasetFile(FileEntry):
    """A shard: JSON Lines with a `text` field in every row, or metadata (`rows` 0)."""

    rows: int = Field(ge=0)


class Dataset(Claim):
    """A domain dataset. With visibility `hub` only its owner and the training nodes read the text."""

    name: Name
    domain: Name
    licence: Licence
    provenance: Text
    visibility: Visibility = "hub"
    rows: int = Field(ge=1)
    files: tuple[DatasetFile, ...] = Field(min_length=1, max_length=1000)


class Suite(Claim):
    """An evaluation suite: `suite.json` and the JSONL it names. With visibility `hub` other members see scores only; with
    `sealed` the hub, too, keeps it encrypted, and the per-item logs are its owner's."""

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z.-]{1,20}$")
    domain: Name
    licence: Licence
    visibility: SuiteVisibility = "members"
    files: tuple[FileEntry, ...] = Field(min_length=2, max_length=100)
