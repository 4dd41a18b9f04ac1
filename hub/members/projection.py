"""Ledger entries about members, nodes and keys as rows; who may sign what is checked here, before it is recorded."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session

from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.members.directory import member_of_delegation, standing_of
from hub.members.tables import KeyRow, MemberRow, NodeRow, TlsKeyRow
from protos.documents.base import now
from protos.documents.members import Delegation, Keys, Member, Node, NodeRevocation, Revocation
from protos.documents.standing import Standing, introduce, keyid_of
from protos.documents.statements import BY_HUB, KINDS, Claimed
from trust.errors import Conflict, Denied, NotFound


def register(journal: Journal) -> None:
    journal.register("member", project=_member, check=_new_member)
    journal.register("node", project=_node, check=_new_node)
    for kind in KINDS.keys() - BY_HUB:
        journal.register(kind, check=lambda session, claimed: _may_say(session, claimed, journal.size))
        journal.register(kind, project=_delegated)
    journal.register("keys", project=_keys, check=_new_keys)
    journal.register("delegation", project=_delegation, check=_new_delegation)
    journal.register("revocation", project=_revocation, check=_known_key)
    journal.register("revocation", check=lambda session, claimed: _news(session, claimed, journal.size))
    journal.register("node-revocation", project=_node_revocation, check=_known_node)


def _new_member(session: Session, claimed: Claimed) -> None:
    claim = cast(Member, claimed.claim)
    if (row := session.get(MemberRow, claim.member)) and not Standing.model_validate_json(row.standing).revoked:
        raise Conflict(f"{claim.member} is a member already.")
    refuse_known(session, keyid_of(claim.artifact_key))


def _member(session: Session, entry: Entry) -> None:
    claim = cast(Member, entry.claim)
    row = session.get(MemberRow, claim.member)
    if row is None:
        standing = introduce(claim, entry.index)
        row = MemberRow(
            id=claim.member, organisation="", role="", enrolled_at=entry.time, standing=standing.model_dump_json()
        )
    else:
        standing = Standing.model_validate_json(row.standing).renewed_by(claim, entry.index)
    row.organisation, row.role, row.standing = claim.organisation, claim.role, standing.model_dump_json()
    session.add(row)
    session.add(KeyRow(keyid=keyid_of(claim.artifact_key), member=claim.member))


def _new_node(session: Session, claimed: Claimed) -> None:
    if (row := session.get(NodeRow, claimed.id)) and not row.revoked:
        raise Conflict(f"{claimed.id} is a node already.")


def _node(session: Session, entry: Entry) -> None:
    claim = cast(Node, entry.claim)
    row = session.get(NodeRow, claim.node) or NodeRow(name=claim.node, organisation="", enrolled_at=entry.time)
    row.organisation, row.revoked = claim.organisation, False
    session.add(row)


def _known_node(session: Session, claimed: Claimed) -> None:
    claim = cast(NodeRevocation, claimed.claim)
    row = session.get(NodeRow, claim.node)
    if row is None:
        raise NotFound(f"There is no node {claim.node}.", "See `coalition node list`.")
    if row.revoked:
        raise Conflict(f"The node {claim.node} was revoked at {row.revoked_at} already.")


def _node_revocation(session: Session, entry: Entry) -> None:
    row = session.get_one(NodeRow, cast(NodeRevocation, entry.claim).node)
    row.revoked, row.revoked_at = True, entry.time
    session.add(row)


def _may_say(session: Session, claimed: Claimed, index: int) -> None:
    """By the keys that are valid at this very entry: what was verified a moment ago may have been revoked since."""
    standing = standing_of(session, claimed.claim.signer)
    standing.allow(claimed.kind, claimed.claim, claimed.proved, index, now())


def _new_keys(session: Session, claimed: Claimed) -> None:
    held = {key.keyid for key in standing_of(session, claimed.claim.signer).keys}
    for pem in cast(Keys, claimed.claim).keys:
        if (keyid := keyid_of(pem)) not in held:
            refuse_known(session, keyid)


def _new_delegation(session: Session, claimed: Claimed) -> None:
    refuse_known(session, keyid_of(cast(Delegation, claimed.claim).key))


def _known_key(session: Session, claimed: Claimed) -> None:
    """Nobody revokes what the member never had: a key that spoke for it, or one that it was certified for."""
    claim = cast(Revocation, claimed.claim)
    standing_of(session, claim.member)
    if claim.key is None or _holder(session, claim.key) == claim.member:
        return
    raise NotFound(f"{claim.member} has and had no key {claim.key[:16]}.", "See `coalition keys list`.")


def _news(session: Session, claimed: Claimed, index: int) -> None:
    """The same again is refused here alone: in the ledger it harms nobody's verdict, and would only make it longer."""
    claim = cast(Revocation, claimed.claim)
    if not standing_of(session, claim.member).disowns(claim, index):
        what = f"The key {claim.key[:16]} of {claim.member}" if claim.key else f"Every key of {claim.member}"
        raise Conflict(f"{what} is disowned from entry {claim.compromised_since} on already.")


def _holder(session: Session, keyid: str) -> str:
    """The member that a key speaks for or is certified for, also through a delegate; empty for none."""
    if row := session.get(KeyRow, keyid):
        return row.member
    if (tls := session.get(TlsKeyRow, keyid)) is None or tls.kind == "node":
        return ""
    return member_of_delegation(session, tls.party) if tls.kind == "delegate" else tls.party


def _keys(session: Session, entry: Entry) -> None:
    claim = cast(Keys, entry.claim)
    before = standing_of(session, claim.signer)
    known = {key.keyid for key in before.keys}
    _keep(session, before.with_keys(claim, entry.index))
    session.add_all(
        KeyRow(keyid=keyid_of(pem), member=claim.signer) for pem in claim.keys if keyid_of(pem) not in known
    )


def _delegation(session: Session, entry: Entry) -> None:
    claim = cast(Delegation, entry.claim)
    _keep(session, standing_of(session, claim.signer).with_delegation(claim, entry.id, entry.index))
    session.add(KeyRow(keyid=keyid_of(claim.key), member=claim.signer, delegation=entry.id))


def _revocation(session: Session, entry: Entry) -> None:
    claim = cast(Revocation, entry.claim)
    _keep(session, standing_of(session, claim.member).with_revocation(claim, entry.index, entry.time))


def _delegated(session: Session, entry: Entry) -> None:
    if entry.claim.delegation:
        _keep(session, standing_of(session, entry.claim.signer).with_statement(entry.claim))


def _keep(session: Session, standing: Standing) -> None:
    row = session.get_one(MemberRow, standing.member)
    row.standing = standing.model_dump_json()
    session.add(row)


def refuse_known(session: Session, keyid: str) -> None:
    """One key, one party, one use: a key that is or was anybody's, for statements or for TLS, is nobody's second.

    Raises `Denied`.
    """
    if session.get(KeyRow, keyid) or session.get(TlsKeyRow, keyid):
        raise Denied(f"The key {keyid[:16]} is in use already, here or by somebody else.", "Make a new one.")
