"""Accepted submissions (a projection of the ledger) and drafts, which are not facts yet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field, SQLModel


class SubmissionRow(SQLModel, table=True):
    """A dataset, suite or reward policy that was accepted; only datasets have a category and a jurisdiction.

    `files` are FileEntry or DatasetFile documents.
    """

    __tablename__ = "submission"

    id: str = Field(primary_key=True)
    index: int
    payload: str = Field(unique=True)
    kind: str = Field(index=True)
    name: str
    domain: str
    licence: str
    member: str = Field(index=True)
    visibility: str
    category: str = ""
    jurisdiction: list[Any] = Field(default=[], sa_column=Column(JSON, nullable=False))
    version: str
    rows: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    files: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    recorded_at: str
    withdrawn_at: str = ""
    withdrawn_by: str = ""
    withdrawn_because: str = ""
    withdrawn_index: int | None = None
    signed_with: str = ""
    """The keyid of the member's or delegate's key."""
    quarantined_index: int | None = None
    """The entry that says that this key was not to be believed any more."""


class DraftRow(SQLModel, table=True):
    """An opened submission: its signed manifest, and how far it came: open, screening, rejected or accepted.

    One that is `dropped` counts on nothing any more, and is gone when its files are.
    """

    __tablename__ = "submission_draft"

    id: str = Field(primary_key=True)
    member: str = Field(index=True)
    envelope: bytes
    opened_at: str
    state: str = "open"
    delegation: str = ""
    """Under which it was opened; empty for the member itself."""


class UploadedRow(SQLModel, table=True):
    """A blob that an open submission counts on: nobody deletes it until the submission is accepted or dropped.

    Its owner has shown it in full at `shown_at`, or, where that is empty, could read it and need not show it. Naming a digest is
    not enough: it may be another's data.
    """

    __tablename__ = "submission_uploaded"

    submission: str = Field(primary_key=True)
    digest: str = Field(primary_key=True, index=True)
    shown_at: str = ""


class FindingRow(SQLModel, table=True):
    """One result of screening, kept for the member's eyes."""

    __tablename__ = "submission_finding"

    id: int | None = Field(default=None, primary_key=True)
    submission: str = Field(index=True)
    rule: str
    severity: str
    message: str
    count: int = Field(default=0, sa_type=BigInteger)
    total: int = Field(default=0, sa_type=BigInteger)
    examples: list[Any] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class ScreeningRow(SQLModel, table=True):
    """One screening that a member asked for, so that nobody asks without end; rows older than a day go."""

    __tablename__ = "submission_screening"

    id: int | None = Field(default=None, primary_key=True)
    member: str = Field(index=True)
    started_at: str
