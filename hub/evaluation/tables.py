"""Evaluations: a projection of the ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class EvaluationRow(SQLModel, table=True):
    """A model under a suite; `failure` instead of scores where it could not be done. `scores` are TaskScore documents."""

    __tablename__ = "evaluation"

    id: str = Field(primary_key=True)
    index: int
    model: str = Field(index=True)
    suite: str = Field(index=True)
    scores: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    failure: str
    samples: str
    seconds: float
    recorded_at: str
