"""Campaigns as the ledger tells them, and the keys of the sites that this hub's SuperLink knows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class CampaignRow(SQLModel, table=True):
    """A campaign. `outcome` is empty until a campaign-end is recorded; `stop` holds the reason once a stop was; `held`
    why it is paused, while it is; `turns` how often it was paused or resumed."""

    __tablename__ = "rounds_campaign"

    id: str = Field(primary_key=True)
    index: int
    payload: str
    name: str
    base_model: str
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    opened_by: str
    opened_at: str
    stop: str = ""
    turns: int = 0
    held: str = ""
    outcome: str = Field(default="", index=True)
    reason: str = ""
    ended_at: str = ""


class ConsentRow(SQLModel, table=True):
    """A member takes part, with the SuperNode key of this digest. A later consent replaces an earlier one."""

    __tablename__ = "rounds_consent"

    campaign: str = Field(primary_key=True)
    member: str = Field(primary_key=True)
    site_key: str
    index: int


class RoundRow(SQLModel, table=True):
    """A round that is done: its model is recorded. `contributions` holds Contribution documents."""

    __tablename__ = "rounds_round"

    campaign: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    model: str
    contributions: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    recorded_at: str


class SiteRow(SQLModel, table=True):
    """A SuperNode key that a member registered (SPKI PEM). Not a projection: sites register at every start.

    `member` is empty once the key was given up: it is nobody's, for ever.
    """

    __tablename__ = "rounds_site"

    digest: str = Field(primary_key=True)
    member: str
    public_key: str
