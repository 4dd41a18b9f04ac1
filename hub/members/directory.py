"""Who is enrolled, in which role, with which keys."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session, col, select

from hub.members.tables import KeyRow, MemberRow, NodeRow
from protos.documents.standing import Standing
from protos.documents.statements import Claimed
from trust.errors import Denied, NotFound
from trust.keys import ArtifactPublicKey


def standing_of(session: Session, member: str) -> Standing:
    """Raises `Denied` for a stranger."""
    row = session.get(MemberRow, member)
    if row is None:
        raise Denied(f"The member {member!r} is not enrolled here.", "Ask the core team for an invitation.")
    return Standing.model_validate_json(row.standing)


def prove(session: Session, claimed: Claimed, envelope: bytes) -> Claimed:
    """The statement with the keys of its signer that signed it. Raises `Denied` for a stranger or a wrong signature."""
    return replace(claimed, proved=standing_of(session, claimed.claim.signer).prove(envelope, claimed.claim))


def key_of(session: Session, member: str) -> ArtifactPublicKey:
    """The key that a member signs with now. Raises `Denied` for a stranger and for who has none any more."""
    for key in standing_of(session, member).valid_keys:
        return key.public
    raise Denied(f"{member} was revoked and has no key.")


def get(session: Session, member: str) -> MemberRow:
    """Raises `NotFound`."""
    row = session.get(MemberRow, member)
    if row is None:
        raise NotFound(f"There is no member {member[:80]!r}.")
    return row


def everyone(session: Session) -> list[MemberRow]:
    return list(session.exec(select(MemberRow).order_by(col(MemberRow.enrolled_at), col(MemberRow.id))))


def node(session: Session, name: str) -> NodeRow:
    """Raises `Denied` for what is no node, or none any more."""
    row = session.get(NodeRow, name)
    if row is None:
        raise Denied(f"The node {name!r} is not enrolled here.", "Ask the core team for an invitation.")
    if row.revoked:
        raise Denied(f"The node {name} was revoked.", "Ask the core team.")
    return row


def node_names(session: Session) -> list[str]:
    """Every enrolled node that was not revoked."""
    return list(session.exec(select(NodeRow.name).where(~col(NodeRow.revoked)).order_by(col(NodeRow.name))))


def member_of_delegation(session: Session, delegation: str) -> str:
    """Who made a delegation. Raises `Denied`."""
    member = session.exec(select(KeyRow.member).where(KeyRow.delegation == delegation)).first()
    if not delegation or member is None:
        raise Denied(f"Nobody made {delegation[:80]!r}.")
    return member
