"""Members, nodes and their keys (projections of the ledger); invitations and TLS keys (the hub's own knowledge)."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class MemberRow(SQLModel, table=True):
    """An organisation. `standing` is a `protos.documents.standing.Standing` as JSON: its role, keys and delegates."""

    __tablename__ = "member"

    id: str = Field(primary_key=True)
    organisation: str
    role: str
    enrolled_at: str
    standing: str


class KeyRow(SQLModel, table=True):
    """A key that speaks or spoke for a member; `delegation` is empty for the member's own."""

    __tablename__ = "member_key"

    keyid: str = Field(primary_key=True)
    member: str = Field(index=True)
    delegation: str = Field(default="", index=True)


class NodeRow(SQLModel, table=True):
    """A machine for base runs. `revoked_at` is when it was revoked last: certificates of before count for nothing."""

    __tablename__ = "member_node"

    name: str = Field(primary_key=True)
    organisation: str
    enrolled_at: str
    revoked: bool = False
    revoked_at: str = ""


class TlsKeyRow(SQLModel, table=True):
    """A TLS key that a certificate was issued for: it is nobody else's, until that certificate is long over."""

    __tablename__ = "member_tls_key"

    keyid: str = Field(primary_key=True)
    kind: str
    party: str
    expires_at: str


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
