"""Witness keys and quorum policies: a projection of the ledger."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class WitnessRow(SQLModel, table=True):
    """A `witness` statement. `raw` is the key alone, in hex: one key is one witness, whatever it is called.

    Both are empty for a revocation that leaves the member without a witness.
    """

    __tablename__ = "witness"

    index: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    member: str = Field(index=True)
    role: str
    vkey: str
    raw: str = Field(index=True)


class WitnessPolicyRow(SQLModel, table=True):
    """A `witness-policy` statement."""

    __tablename__ = "witness_policy"

    index: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    quorum: int
