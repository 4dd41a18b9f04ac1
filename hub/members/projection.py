"""Ledger entries of kind `member` and `node` as rows."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session

from hub.ledger.journal import Entry, Journal
from hub.members.tables import MemberRow, NodeRow
from protos.documents.members import Member, Node
from protos.documents.statements import Claimed
from trust.errors import Conflict


def register(journal: Journal) -> None:
    journal.register("member", project=_member, check=_new_member)
    journal.register("node", project=_node, check=_new_node)


def _new_member(session: Session, claimed: Claimed) -> None:
    if session.get(MemberRow, claimed.id):
        raise Conflict(f"{claimed.id} is a member already.")


def _member(session: Session, entry: Entry) -> None:
    claim = cast(Member, entry.claim)
    session.add(
        MemberRow(
            id=claim.member,
            organisation=claim.organisation,
            role=claim.role,
            artifact_key=claim.artifact_key,
            enrolled_at=entry.time,
        )
    )


def _new_node(session: Session, claimed: Claimed) -> None:
    if session.get(NodeRow, claimed.id):
        raise Conflict(f"{claimed.id} is a node already.")


def _node(session: Session, entry: Entry) -> None:
    claim = cast(Node, entry.claim)
    session.add(NodeRow(name=claim.node, organisation=claim.organisation, enrolled_at=entry.time))
