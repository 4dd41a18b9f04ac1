"""The ledger's projection: one row per entry, one per grant. Loans, and who leads, are not facts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field, SQLModel


class LedgerEntry(SQLModel, table=True):
    """What entry `index` of the log says; `payload` is unique, for that is what makes a replay a replay.

    `key` is the keyid of the member's key that signed: empty for the hub's entries, and for those recorded before it was kept.
    """

    __tablename__ = "ledger_entry"

    index: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    kind: str = Field(index=True)
    signer: str = Field(index=True)
    id: str = Field(index=True)
    time: str
    envelope: str
    payload: str = Field(unique=True)
    key: str = ""


class BlobGrant(SQLModel, table=True):
    """`audience` may read the blob, because of `source` (a submission, or empty), unless that was withdrawn.

    `purged` is the entry that says that the blob need not be here on this account.
    """

    __tablename__ = "blob_grant"
    __table_args__ = (
        Index(
            "ix_blob_grant_source",
            "source",
            sqlite_where=text("source <> ''"),
            postgresql_where=text("source <> ''"),
        ),
        Index(
            "ix_blob_grant_purged",
            "purged",
            sqlite_where=text("purged IS NOT NULL"),
            postgresql_where=text("purged IS NOT NULL"),
        ),
    )

    digest: str = Field(primary_key=True)
    audience: str = Field(primary_key=True)
    source: str = Field(default="", primary_key=True)
    withdrawn: bool = False
    purged: int | None = None


class BlobLoan(SQLModel, table=True):
    """As `BlobGrant`, but no entry says so: what is made in the course of work, as long as the work needs it."""

    __tablename__ = "blob_loan"

    digest: str = Field(primary_key=True)
    audience: str = Field(primary_key=True)


class LeaderRow(SQLModel, table=True):
    """Of several hub processes, the one that writes; `beat` is when it last said so, by the database's clock. One row."""

    __tablename__ = "ledger_leader"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    epoch: int
    name: str
    address: str
    enrolment: str
    beat: float


class HeadRow(SQLModel, table=True):
    """The newest head that a leader committed: its size and root (hexadecimal). One row."""

    __tablename__ = "ledger_head"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    epoch: int
    size: int = Field(sa_type=BigInteger)
    root: str
