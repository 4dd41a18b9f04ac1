"""Who witnesses and what a quorum is, as the database has it."""

from __future__ import annotations

from sqlmodel import Session, col, select

from hub.witnesses.tables import WitnessPolicyRow, WitnessRow
from protos.documents.witnesses import DisownedWitness, EnrolledWitness, Policy, WitnessChange
from trust.keys import WitnessPublicKey


def enrolled(session: Session) -> list[WitnessChange]:
    """Every `witness` statement and what revocations made of them, in the order of the ledger."""
    rows = session.exec(select(WitnessRow).order_by(col(WitnessRow.index)))
    return [
        EnrolledWitness(row.index, row.member, row.role, WitnessPublicKey.decode(row.vkey))
        if row.vkey
        else DisownedWitness(row.index, row.member)
        for row in rows
    ]


def policies(session: Session) -> list[Policy]:
    """Every `witness-policy` statement, in the order of the ledger."""
    rows = session.exec(select(WitnessPolicyRow).order_by(col(WitnessPolicyRow.index)))
    return [Policy(row.index, row.quorum) for row in rows]
