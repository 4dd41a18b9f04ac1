"""Invitations: made on the hub's machine, single-use, spent by the key that enrols with it."""

from __future__ import annotations

import datetime as dt
import re

from sqlmodel import Session

from hub.members.directory import standing_of
from hub.members.tables import InvitationRow, MemberRow, NodeRow
from protos.documents.base import printable
from trust.digests import Digest
from trust.errors import Conflict, Denied, Invalid
from trust.invitations import Invitation

DAYS = 7


def slug(organisation: str) -> str:
    """The member identifier of an organisation's name. Raises `Invalid` when nothing is left of it."""
    try:
        printable(organisation)
    except ValueError as error:
        raise Invalid(f"The organisation's name {error}.", "Write it again.") from None
    text = re.sub(r"[^a-z0-9]+", "-", organisation.lower()).strip("-")[:63].strip("-")
    if len(text) < 3:
        raise Invalid(f"{organisation!r} is too short for a name.", "Use at least three letters or digits.")
    if text == "hub":
        raise Invalid("'hub' is the hub's own name.", "Choose another.")
    return text


def invite_member(session: Session, invitation: Invitation, organisation: str, role: str, days: float = DAYS) -> str:
    """Remember an invitation for an organisation; answers the member's identifier to be.

    One that is a member already gets a new certificate with it, for the artifact key that it has.
    """
    member = slug(organisation)
    if session.get(MemberRow, member):
        standing = standing_of(session, member)
        if not standing.revoked and standing.role != role:
            raise Conflict(f"{member} is a {standing.role} already; an invitation changes no role.")
    _remember(session, invitation, "member", member, organisation, role, days)
    return member


def invite_node(session: Session, invitation: Invitation, organisation: str, name: str, days: float = DAYS) -> str:
    """Remember an invitation for a node of an organisation; a node whose certificate ran out is invited again."""
    if slug(name) != name:
        raise Invalid(f"{name!r} cannot name a node.", "Use lower-case letters, digits and hyphens.")
    if (node := session.get(NodeRow, name)) and node.organisation != organisation:
        raise Conflict(f"{name} is a node of {node.organisation} already.")
    _remember(session, invitation, "node", name, organisation, "node", days)
    return name


def _remember(
    session: Session, invitation: Invitation, kind: str, identifier: str, organisation: str, role: str, days: float
) -> None:
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    session.add(
        InvitationRow(
            secret_hash=invitation.secret_hash(),
            kind=kind,
            id=identifier,
            organisation=organisation,
            role=role,
            expires_at=expires.isoformat(timespec="seconds"),
        )
    )


def find(session: Session, secret_hash: Digest, key: Digest) -> InvitationRow:
    """An invitation that `key` may use: unspent and in time, or spent by this very key, whose first answer got lost."""
    row = known(session, secret_hash)
    if row.spent_by not in ("", key):
        raise Denied("The invitation is unknown or was used already.", "Ask the core team for a new one.")
    return row


def known(session: Session, secret_hash: Digest) -> InvitationRow:
    """An invitation in time, spent or not. Raises `Denied`."""
    row = session.get(InvitationRow, secret_hash)
    if row is None:
        raise Denied("The invitation is unknown or was used already.", "Ask the core team for a new one.")
    if dt.datetime.fromisoformat(row.expires_at) < dt.datetime.now(dt.UTC):
        raise Denied(f"The invitation expired at {row.expires_at}.", "Ask the core team for a new one.")
    return row


def spend(session: Session, secret_hash: Digest, key: Digest) -> None:
    """From now on only `key` may use it. Raises `Denied` when another was quicker."""
    row = find(session, secret_hash, key)
    row.spent_by = key
    session.add(row)
