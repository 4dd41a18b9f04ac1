"""gRPC: who takes part, their keys, their certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sqlmodel import Session

from hub.callers import Caller, caller
from hub.database import Database
from hub.ledger import rows
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.members import directory
from hub.members.certification import Certification
from hub.members.tables import MemberRow
from protos.coalition.v1 import common_pb2, members_pb2, members_pb2_grpc
from protos.documents.members import Delegation, Keys, NodeRevocation, Revocation
from protos.documents.standing import Key, Standing
from trust.errors import Denied, Invalid
from trust.keys import ArtifactPublicKey

Tally = Callable[[Session], dict[str, dict[str, int]]]
"""Member identifier -> fields of the `Member` message that a room counts."""


class MembersService(members_pb2_grpc.MembersServicer):
    """Members, with what each room counts for them, and what they do with their keys."""

    def __init__(
        self, database: Database, tallies: Sequence[Tally], journal: Journal, certification: Certification
    ) -> None:
        self._database, self._tallies = database, tallies
        self._journal, self._certification = journal, certification
        self._listed: tuple[int, list[members_pb2.Member]] = (0, [])

    async def WhoAmI(self, request: members_pb2.WhoAmIRequest, context: Any) -> members_pb2.Member:
        who = caller()
        if who.kind == "node":
            return members_pb2.Member(id=who.id, role="node")
        members = await asyncio.to_thread(self._members)
        return next(member for member in members if member.id == who.id)

    async def ListMembers(
        self, request: members_pb2.ListMembersRequest, context: Any
    ) -> members_pb2.ListMembersResponse:
        return members_pb2.ListMembersResponse(members=await asyncio.to_thread(self._members))

    async def GetKeys(self, request: common_pb2.ById, context: Any) -> members_pb2.MemberKeys:
        return await asyncio.to_thread(self._keys, request.id or caller().id)

    async def ChangeKeys(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._change_keys, request.envelope, caller().id)

    async def Delegate(self, request: members_pb2.DelegateRequest, context: Any) -> members_pb2.Certified:
        return await asyncio.to_thread(self._delegate, request, caller().id)

    async def Renew(self, request: members_pb2.RenewRequest, context: Any) -> members_pb2.Certified:
        return await asyncio.to_thread(self._renew, request, caller())

    async def RevokeNode(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._revoke_node, request.envelope, caller().id)

    def _members(self) -> list[members_pb2.Member]:
        """Everyone, with what the rooms count. All of it follows from the ledger: it is counted anew when that has grown."""
        with self._database.session() as session:
            size = rows.count(session)
            listed_at, listed = self._listed
            if listed_at == size:
                return listed
            counts: dict[str, dict[str, int]] = {}
            for tally in self._tallies:
                for member, numbers in tally(session).items():
                    counts.setdefault(member, {}).update(numbers)
            listed = [_message(row, counts.get(row.id, {})) for row in directory.everyone(session)]
        self._listed = size, listed
        return listed

    def _keys(self, member: str) -> members_pb2.MemberKeys:
        with self._database.session() as session:
            directory.get(session, member)
            return _member_keys(directory.standing_of(session, member))

    def _change_keys(self, envelope: bytes, member: str) -> common_pb2.Recorded:
        if not isinstance(self._journal.read(envelope, member).claim, Keys | Revocation):
            raise Invalid("This call takes signed keys or a signed revocation.")
        return self._recorded(self._journal.record(envelope, member))

    def _delegate(self, request: members_pb2.DelegateRequest, member: str) -> members_pb2.Certified:
        claimed = self._journal.read(request.envelope, member)
        claim = claimed.claim
        if not isinstance(claim, Delegation):
            raise Invalid("This call takes a signed delegation.")
        if not self._certification.in_time(claim.expires_at):
            raise Denied(f"The delegation expired at {claim.expires_at} already.", "Check this machine's clock.")
        wanted = request.certificate_request
        self._certification.check(wanted, "delegate", "")
        key = ArtifactPublicKey.from_pem(claim.key.encode())
        holder = self._certification.proved(wanted, "delegate", claimed.id, request.proof, (key,))
        entry = self._journal.record(request.envelope, member)
        certified = self._certification.issue(wanted, "delegate", entry.id, holder)
        certified.recorded.CopyFrom(self._recorded(entry))
        return certified

    def _renew(self, request: members_pb2.RenewRequest, who: Caller) -> members_pb2.Certified:
        shown, wanted = who.certificate, request.certificate_request
        if shown is None:
            raise Denied("The call carries no client certificate.")
        self._certification.check(wanted, shown.kind, shown.name)
        holder = self._certification.prover(wanted, shown.kind, shown.name, request.proof)
        return self._certification.issue(wanted, shown.kind, shown.name, holder)

    def _revoke_node(self, envelope: bytes, member: str) -> common_pb2.Recorded:
        if not isinstance(self._journal.read(envelope, member).claim, NodeRevocation):
            raise Invalid("This call takes a signed revocation of a node.")
        return self._recorded(self._journal.record(envelope, member))

    def _recorded(self, entry: Entry) -> common_pb2.Recorded:
        return common_pb2.Recorded(id=entry.id, receipt=self._journal.receipt(entry.index))


def _message(row: MemberRow, counts: dict[str, int]) -> members_pb2.Member:
    standing = Standing.model_validate_json(row.standing)
    newest = (standing.valid_keys or standing.keys)[-1]
    return members_pb2.Member(
        id=row.id,
        organisation=row.organisation,
        role=row.role,
        key_id=newest.keyid,
        enrolled_at=row.enrolled_at,
        **counts,
    )


def _member_keys(standing: Standing) -> members_pb2.MemberKeys:
    return members_pb2.MemberKeys(
        member=standing.member,
        version=standing.version,
        revoked=standing.revoked,
        keys=[_key(key) for key in standing.keys],
        delegations=[
            members_pb2.MemberDelegation(
                id=each.id,
                name=each.name,
                key=_key(each.key),
                kinds=each.kinds,
                budget=each.budget,
                used=each.used,
                expires_at=each.expires_at,
            )
            for each in standing.delegates
        ],
    )


def _key(key: Key) -> members_pb2.MemberKey:
    return members_pb2.MemberKey(
        key_id=key.keyid,
        since=key.since,
        until=-1 if key.until is None else key.until,
        compromised_since=-1 if key.compromised_since is None else key.compromised_since,
        valid=key.valid,
    )
