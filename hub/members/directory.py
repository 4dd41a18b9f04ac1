"""Who is enrolled, in which role, with which key."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session, col, select

from hub.access import Role
from hub.database import Database
from hub.members.tables import MemberRow, NodeRow
from trust.errors import Denied, NotFound
from trust.keys import ArtifactPublicKey


def key_of(session: Session, member: str) -> ArtifactPublicKey:
    """The artifact key that a member's statements verify with. Raises `Denied` for a stranger."""
    row = session.get(MemberRow, member)
    if row is None:
        raise Denied(f"{member!r} is not a member of this hub.")
    return ArtifactPublicKey.from_pem(row.artifact_key.encode())


def get(session: Session, member: str) -> MemberRow:
    """Raises `NotFound`."""
    row = session.get(MemberRow, member)
    if row is None:
        raise NotFound(f"There is no member {member[:80]!r}.")
    return row


def everyone(session: Session) -> list[MemberRow]:
    return list(session.exec(select(MemberRow).order_by(col(MemberRow.enrolled_at), col(MemberRow.id))))


def node_names(session: Session) -> list[str]:
    """Every enrolled node."""
    return list(session.exec(select(NodeRow.name).order_by(col(NodeRow.name))))


class Roles:
    """The role of a party, asked for on every call; remembered, because roles only ever come from the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str], Role] = {}

    def __call__(self, kind: str, name: str) -> Role:
        """Raises `Denied` for a party that is not enrolled."""
        if (kind, name) not in self._known:
            self._known[kind, name] = self._look_up(kind, name)
        return self._known[kind, name]

    def forget(self, name: str) -> None:
        """Look again: the ledger said something about this party."""
        self._known = {key: role for key, role in self._known.items() if key[1] != name}

    def _look_up(self, kind: str, name: str) -> Role:
        with self._database.session() as session:
            if kind == "node":
                if session.get(NodeRow, name):
                    return "node"
            elif row := session.get(MemberRow, name):
                return cast(Role, row.role)
        raise Denied(f"The {kind} {name!r} is not enrolled here.", "Ask the core team for an invitation.")
