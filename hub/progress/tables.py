"""What watchers see. Lost with the database and not missed: no fact hangs on it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class ProgressRecord(SQLModel, table=True):
    """One event of a run or campaign (`subject`); `metrics` is a list of [step, name, value]."""

    __tablename__ = "progress_record"

    sequence: int | None = Field(default=None, primary_key=True)
    subject: str = Field(index=True)
    time: str
    phase: str
    message: str
    metrics: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    terminal: bool
