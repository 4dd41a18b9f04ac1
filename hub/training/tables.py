"""Base runs: what the ledger says (runs, checkpoints), and the present attempt, which only this hub needs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class RunRow(SQLModel, table=True):
    """A base run. `outcome` is empty until a run-end is recorded; `stop` holds the reason once a stop was."""

    __tablename__ = "training_run"

    id: str = Field(primary_key=True)
    index: int
    payload: str
    name: str
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    launched_by: str
    launched_at: str
    stop: str = ""
    outcome: str = Field(default="", index=True)
    reason: str = ""
    model: str = ""
    ended_at: str = ""


class CheckpointRow(SQLModel, table=True):
    """A step of which every rank holds its shard. `nodes` are in the order of their ranks."""

    __tablename__ = "training_checkpoint"

    run: str = Field(primary_key=True)
    step: int = Field(primary_key=True)
    attempt: int
    loss: float
    weights: str
    nodes: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    recorded_at: str


class UseRow(SQLModel, table=True):
    """What the run of a checkpoint or an end had held since its entry before, for its project; `index` is the entry's."""

    __tablename__ = "training_use"

    index: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    project: str
    rank_seconds: float
    at: str


class HoldingRow(SQLModel, table=True):
    """What a run has held up to `since`, seconds of the epoch, and no entry tells; and the ranks that it has had from then on.
    Not a projection."""

    __tablename__ = "training_holding"

    run: str = Field(primary_key=True)
    rank_seconds: float
    ranks: int
    since: float


class AttemptRow(SQLModel, table=True):
    """Where the work on a run stands, so that a restarted hub finds its nodes again. Not a projection."""

    __tablename__ = "training_attempt"

    run: str = Field(primary_key=True)
    number: int
    failures: int
    phase: str
    nodes: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    prepared: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    ranks: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    copies: list[Any] = Field(sa_column=Column(JSON, nullable=False, server_default="[]"))
