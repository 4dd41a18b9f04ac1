"""gRPC: enrolment, on its own listener."""

from __future__ import annotations

import asyncio
from typing import Any

from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.members import directory, invitations
from hub.members.certification import Certification
from hub.members.nonces import Nonces
from hub.members.projection import refuse_known
from hub.members.tables import InvitationRow, MemberRow, NodeRow
from protos.coalition.v1 import members_pb2, members_pb2_grpc
from protos.documents.members import Member, Node
from protos.documents.statements import HUB
from trust.certificates import public_key_of_request
from trust.digests import Digest, digest_bytes
from trust.errors import Conflict, Denied, Invalid
from trust.invitations import enrolment_challenge
from trust.keys import ArtifactPublicKey

MAX_REQUEST = 16_384


class EnrolmentService(members_pb2_grpc.EnrolmentServicer):
    """Spends invitations: the one thing a stranger may do. `ledger_key` is a C2SP vkey, `statement_key` SPKI PEM."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        certification: Certification,
        ledger_key: str,
        statement_key: bytes,
    ) -> None:
        self._database, self._journal, self._certification = database, journal, certification
        self._ledger_key, self._statement_key = ledger_key, statement_key
        self._nonces = Nonces()
        self._one_at_a_time = asyncio.Lock()

    async def Begin(self, request: members_pb2.BeginRequest, context: Any) -> members_pb2.BeginResponse:
        return await asyncio.to_thread(self._begin, digest_bytes(request.token_secret))

    async def Enrol(self, request: members_pb2.EnrolRequest, context: Any) -> members_pb2.EnrolResponse:
        if len(request.certificate_request) > MAX_REQUEST or len(request.artifact_key) > MAX_REQUEST:
            raise Invalid("The enrolment request is too large.")
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._enrol, request)

    def _begin(self, secret_hash: Digest) -> members_pb2.BeginResponse:
        with self._database.session() as session:
            invitations.known(session, secret_hash)
        return members_pb2.BeginResponse(nonce=self._nonces.give(secret_hash))

    def _enrol(self, request: members_pb2.EnrolRequest) -> members_pb2.EnrolResponse:
        secret_hash = digest_bytes(request.token_secret)
        with self._database.session() as session:
            kind = invitations.known(session, secret_hash).kind
        self._nonces.take(secret_hash, request.nonce)
        key = self._proved(request, secret_hash, member=kind == "member")
        with self._database.session() as session:
            invitation = invitations.find(session, secret_hash, key)
            if kind == "member":
                self._check_key(session, invitation, request)
        self._certification.check(request.certificate_request, invitation.kind, invitation.id)
        with self._database.session(writing=True) as session:
            invitations.spend(session, secret_hash, key)
        entry = self._welcome(invitation, request)
        holder = ArtifactPublicKey.from_pem(request.artifact_key).keyid if kind == "member" else ""
        certified = self._certification.issue(request.certificate_request, invitation.kind, invitation.id, holder)
        return members_pb2.EnrolResponse(
            hub=self._journal.origin,
            id=invitation.id,
            organisation=invitation.organisation,
            role=invitation.role,
            certificate=certified.certificate,
            authority=certified.authorities,
            ledger_key=self._ledger_key,
            statement_key=self._statement_key,
            receipt=self._journal.receipt(entry.index) if entry else None,
        )

    def _proved(self, request: members_pb2.EnrolRequest, secret: Digest, *, member: bool) -> Digest:
        """What identifies the newcomer across retries, a member's artifact key or a node's TLS key; each has signed the nonce."""
        tls = public_key_of_request(request.certificate_request)
        self._check_proof("tls", tls, request.tls_proof, request, secret)
        if not member:
            if request.artifact_key:
                raise Invalid("A node has no artifact key.")
            return digest_bytes(tls.spki)
        key = ArtifactPublicKey.from_pem(request.artifact_key)
        if key == tls:
            raise Denied("One key cannot be both artifact key and TLS key.", "Make two.")
        self._check_proof("artifact", key, request.artifact_proof, request, secret)
        return digest_bytes(key.pem())

    def _check_proof(
        self, use: Any, key: ArtifactPublicKey, proof: bytes, request: members_pb2.EnrolRequest, secret: Digest
    ) -> None:
        """Each key must have signed for this hub, this attempt, this invitation and this TLS key."""
        origin = self._journal.origin
        key.verify(proof, enrolment_challenge(use, origin, request.nonce, secret, request.certificate_request))

    def _check_key(self, session: Any, invitation: InvitationRow, request: members_pb2.EnrolRequest) -> None:
        """Nobody else's key, unless an earlier attempt of this newcomer recorded it. Raises `Denied`."""
        keyid = ArtifactPublicKey.from_pem(request.artifact_key).keyid
        row = session.get(MemberRow, invitation.id)
        held = directory.standing_of(session, invitation.id).valid_keys if row else ()
        if keyid not in {key.keyid for key in held}:
            refuse_known(session, keyid)

    def _welcome(self, invitation: InvitationRow, request: members_pb2.EnrolRequest) -> Entry | None:
        """Record the newcomer, unless an earlier attempt already did; None then."""
        with self._database.session() as session:
            if invitation.kind == "node":
                node = session.get(NodeRow, invitation.id)
                known = node is not None and not node.revoked
            elif row := session.get(MemberRow, invitation.id):
                standing = directory.standing_of(session, row.id)
                known = not standing.revoked
                keyid = ArtifactPublicKey.from_pem(request.artifact_key).keyid
                if known and keyid not in {key.keyid for key in standing.valid_keys}:
                    raise Conflict(f"{invitation.id} is enrolled with another key.")
            else:
                known = False
        return None if known else self._journal.sign_and_record(self._claim(invitation, request))

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
                "artifact_key": ArtifactPublicKey.from_pem(request.artifact_key).pem().decode(),
            }
        )
