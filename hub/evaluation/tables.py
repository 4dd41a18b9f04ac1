"""Evaluations: a projection of the ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class EvaluationRow(SQLModel, table=True):
    """A model under a suite; `failure` instead of scores where it could not be done. `scores` are TaskScore documents.

    `work` is what was computed (`hub.evaluation.reuse`), empty of a failure; `same_as` the evaluation that it repeats, `node` who
    computed it where that was not the hub.
    """

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
    work: str = Field(default="", index=True, sa_column_kwargs={"server_default": ""})
    same_as: str = Field(default="", sa_column_kwargs={"server_default": ""})
    node: str = Field(default="", sa_column_kwargs={"server_default": ""})
