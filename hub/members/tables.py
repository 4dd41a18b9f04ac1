"""Members and nodes (projections of the ledger), and the invitations that wait (the hub's own secret)."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class MemberRow(SQLModel, table=True):
    """An organisation. `artifact_key` is SPKI PEM."""

    __tablename__ = "member"

    id: str = Field(primary_key=True)
    organisation: str
    role: str
    artifact_key: str
    enrolled_at: str


class NodeRow(SQLModel, table=True):
    """A machine for base runs."""

    __tablename__ = "member_node"

    name: str = Field(primary_key=True)
    organisation: str
    enrolled_at: str


class InvitationRow(SQLModel, table=True):
    """One use. The secret itself is not kept; `spent_by` is the digest of the key that used it."""

    __tablename__ = "member_invitation"

    secret_hash: str = Field(primary_key=True)
    kind: str
    id: str
    organisation: str
    role: str
    expires_at: str
    spent_by: str = ""
