"""Ledger entries of kind `witness` and `witness-policy` as rows, and what revocations make of them."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session, select

from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.members import directory
from hub.witnesses import roll
from hub.witnesses.tables import WitnessPolicyRow, WitnessRow
from protos.documents.members import Revocation
from protos.documents.statements import Claimed
from protos.documents.witnesses import EVERYTHING, Witness, WitnessPolicy, current, disowns
from trust.errors import Conflict, Denied, Invalid


def register(journal: Journal) -> None:
    journal.register("witness", project=_witness, check=_check_witness)
    journal.register("witness-policy", project=_policy, check=_check_policy)
    journal.register("revocation", project=_revocation)


def _check_witness(session: Session, claimed: Claimed) -> None:
    claim = cast(Witness, claimed.claim)
    if claim.key.name != f"{claim.hub}/{claim.signer}":
        raise Invalid(
            f"Your witness key must be called {claim.hub}/{claim.signer}, not {claim.key.name}.", field="vkey"
        )
    if not claim.possession:
        raise Denied("The witness key did not sign: nobody showed that it is held.", "Update your `coalition`.")
    standing = {each.key.raw for each in current(roll.enrolled(session), EVERYTHING)}
    for row in session.exec(select(WitnessRow).where(WitnessRow.raw == claim.key.raw.hex())):
        if row.member != claim.signer or claim.key.raw in standing:
            raise Conflict(f"That key is {row.member}'s witness already, by entry {row.index}.", "Make another key.")


def _check_policy(session: Session, claimed: Claimed) -> None:
    claim = cast(WitnessPolicy, claimed.claim)
    counted = sum(1 for witness in current(roll.enrolled(session), EVERYTHING) if witness.counted)
    if claim.quorum > counted:
        raise Conflict(
            f"A quorum of {claim.quorum} cannot be met: {counted} members' witnesses are enrolled.",
            "Members enrol theirs with `coalition witness start`.",
        )


def _witness(session: Session, entry: Entry) -> None:
    claim = cast(Witness, entry.claim)
    role = directory.get(session, claim.signer).role
    session.add(WitnessRow(index=entry.index, member=claim.signer, role=role, vkey=claim.vkey, raw=claim.key.raw.hex()))


def _revocation(session: Session, entry: Entry) -> None:
    """The members' room has let it count already."""
    claim = cast(Revocation, entry.claim)
    if disowns(claim, directory.standing_of(session, claim.member), roll.enrolled(session)):
        role = directory.get(session, claim.member).role
        session.add(WitnessRow(index=entry.index, member=claim.member, role=role, vkey="", raw=""))


def _policy(session: Session, entry: Entry) -> None:
    session.add(WitnessPolicyRow(index=entry.index, quorum=cast(WitnessPolicy, entry.claim).quorum))
