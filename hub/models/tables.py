"""Model versions and releases: projections of the ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field, SQLModel


class ModelRow(SQLModel, table=True):
    """A model version. The JSON columns hold FileEntry, DataUsed and Contribution documents."""

    __tablename__ = "model"

    id: str = Field(primary_key=True)
    index: int
    payload: str
    parent: str
    origin: str
    source: str = Field(index=True)
    round: int
    parameters: int = Field(sa_type=BigInteger)
    architecture: str
    tokens: int = Field(sa_type=BigInteger)
    code_version: str
    files: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    data: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    contributions: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    recorded_at: str


class ReleaseRow(SQLModel, table=True):
    """A release: a folder that a core member signed."""

    __tablename__ = "model_release"

    version: str = Field(primary_key=True)
    index: int
    model: str = Field(index=True)
    member: str
    files: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    bundle: str
    envelope: str
    recorded_at: str
