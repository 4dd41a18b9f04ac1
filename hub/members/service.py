"""gRPC: enrolment on its own listener, and the list of members."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlmodel import Session

from hub.access import caller
from hub.database import Database
from hub.ledger.journal import Entry, Journal
from hub.members import directory, invitations
from hub.members.tables import InvitationRow, MemberRow, NodeRow
from protos.coalition.v1 import members_pb2, members_pb2_grpc
from protos.documents.members import Member, Node
from protos.documents.statements import HUB
from trust.certificates import Authority, party_uri
from trust.digests import Digest, digest_bytes
from trust.errors import Conflict, Invalid
from trust.invitations import enrolment_challenge
from trust.keys import ArtifactPublicKey

MAX_REQUEST = 16_384
Tally = Callable[[Session], dict[str, dict[str, int]]]
"""Member identifier -> fields of the `Member` message that a room counts."""


class EnrolmentService(members_pb2_grpc.EnrolmentServicer):
    """Spends invitations: the one thing a stranger may do."""

    def __init__(
        self, database: Database, journal: Journal, authority: Authority, ledger_key: str, statement_key: bytes
    ) -> None:
        self._database, self._journal, self._authority = database, journal, authority
        self._ledger_key, self._statement_key = ledger_key, statement_key
        self._one_at_a_time = asyncio.Lock()

    async def Enrol(self, request: members_pb2.EnrolRequest, context: Any) -> members_pb2.EnrolResponse:
        if len(request.certificate_request) > MAX_REQUEST or len(request.artifact_key) > MAX_REQUEST:
            raise Invalid("The enrolment request is too large.")
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._enrol, request)

    def _enrol(self, request: members_pb2.EnrolRequest) -> members_pb2.EnrolResponse:
        secret_hash = digest_bytes(request.token_secret)
        key = _enrolling_key(request)
        with self._database.session() as session:
            invitation = invitations.find(session, secret_hash, key)
        if invitation.kind == "member":
            self._prove(request, secret_hash)
        uri = party_uri(self._journal.origin, invitation.kind, invitation.id)
        certificate = self._authority.issue_client(request.certificate_request, uri)
        with self._database.session(writing=True) as session:
            invitations.spend(session, secret_hash, key)
        entry = self._welcome(invitation, request)
        return members_pb2.EnrolResponse(
            hub=self._journal.origin,
            id=invitation.id,
            organisation=invitation.organisation,
            role=invitation.role,
            certificate=certificate,
            authority=self._authority.cert_pem,
            ledger_key=self._ledger_key,
            statement_key=self._statement_key,
            receipt=self._journal.receipt(entry.index) if entry else None,
        )

    def _prove(self, request: members_pb2.EnrolRequest, secret_hash: Digest) -> None:
        """The artifact key must have signed for this hub, this invitation and this TLS key."""
        challenge = enrolment_challenge(self._journal.origin, secret_hash, request.certificate_request)
        ArtifactPublicKey.from_pem(request.artifact_key).verify(request.artifact_proof, challenge)

    def _welcome(self, invitation: InvitationRow, request: members_pb2.EnrolRequest) -> Entry | None:
        """Record the newcomer, unless an earlier attempt already did; None then."""
        with self._database.session() as session:
            table = MemberRow if invitation.kind == "member" else NodeRow
            known = session.get(table, invitation.id)
        if known is None:
            return self._journal.sign_and_record(self._claim(invitation, request))
        if isinstance(known, MemberRow) and known.artifact_key.encode() != _pem(request):
            raise Conflict(f"{invitation.id} is enrolled with another key.")
        return None

    def _claim(self, invitation: InvitationRow, request: members_pb2.EnrolRequest) -> Member | Node:
        origin = self._journal.origin
        if invitation.kind == "node":
            return Node(hub=origin, signer=HUB, node=invitation.id, organisation=invitation.organisation)
        return Member.read(
            {
                "hub": origin,
                "signer": HUB,
                "member": invitation.id,
                "organisation": invitation.organisation,
                "role": invitation.role,
                "artifact_key": _pem(request).decode(),
            }
        )


def _pem(request: members_pb2.EnrolRequest) -> bytes:
    return ArtifactPublicKey.from_pem(request.artifact_key).pem()


def _enrolling_key(request: members_pb2.EnrolRequest) -> Digest:
    """What identifies the newcomer across retries: a member's artifact key, a node's TLS key."""
    if request.artifact_key:
        return digest_bytes(_pem(request))
    try:
        public = x509.load_pem_x509_csr(request.certificate_request).public_key()
    except ValueError:
        raise Invalid("The text is not a certificate signing request in PEM form.") from None
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Digest(f"sha256:{hashlib.sha256(spki).hexdigest()}")


class MembersService(members_pb2_grpc.MembersServicer):
    """Who takes part, with what each room counts for them."""

    def __init__(self, database: Database, tallies: Sequence[Tally]) -> None:
        self._database, self._tallies = database, tallies

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

    def _members(self) -> list[members_pb2.Member]:
        with self._database.session() as session:
            counts: dict[str, dict[str, int]] = {}
            for tally in self._tallies:
                for member, numbers in tally(session).items():
                    counts.setdefault(member, {}).update(numbers)
            return [_message(row, counts.get(row.id, {})) for row in directory.everyone(session)]


def _message(row: MemberRow, counts: dict[str, int]) -> members_pb2.Member:
    return members_pb2.Member(
        id=row.id,
        organisation=row.organisation,
        role=row.role,
        key_id=ArtifactPublicKey.from_pem(row.artifact_key.encode()).keyid,
        enrolled_at=row.enrolled_at,
        **counts,
    )
