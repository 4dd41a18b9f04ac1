"""Spending an invitation: pin the hub, prove our keys, receive a certificate."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from protos.coalition.v1 import common_pb2, members_pb2, members_pb2_grpc
from protos.transport.channel import Credentials, connect_as_stranger, fetch_authority
from protos.transport.errors import from_rpc_error
from trust.authorities import split_bundle
from trust.certificates import new_client_request, subject_of
from trust.errors import Denied
from trust.invitations import Invitation, enrolment_challenge
from trust.keys import ArtifactKey

DEADLINE = 30.0


@dataclass(frozen=True)
class Enrolled:
    """What a party holds after enrolment. `ledger_key` is a C2SP vkey, `statement_key` the hub's SPKI PEM."""

    id: str
    hub: str
    organisation: str
    role: str
    ledger_key: str
    statement_key: bytes
    receipt: common_pb2.Receipt
    credentials: Credentials = field(repr=False)
    delegation: str = ""


def enrol(host: str, invitation: Invitation, name: str, artifact_key: ArtifactKey | None) -> Enrolled:
    """Enrol at the hub's enrolment listener; `name` is a courtesy in the certificate request.

    A member proves that it holds its artifact key; a node has none. Raises `Denied` for a wrong hub or a spent
    invitation, `Unavailable` when nobody answers.
    """
    authority = fetch_authority(host, invitation.port, invitation.ca_fingerprint)
    key, request = new_client_request(name)
    hub = subject_of(authority)
    with connect_as_stranger(host, invitation.port, authority) as channel:
        door = members_pb2_grpc.EnrolmentStub(channel)
        try:
            nonce = door.Begin(members_pb2.BeginRequest(token_secret=invitation.secret), timeout=DEADLINE).nonce
            message = members_pb2.EnrolRequest(token_secret=invitation.secret, certificate_request=request, nonce=nonce)
            secret = invitation.secret_hash()
            proof = enrolment_challenge("tls", hub, nonce, secret, request)
            message.tls_proof = ArtifactKey.from_pem(key).sign(proof)
            if artifact_key is not None:
                message.artifact_key = artifact_key.public.pem()
                proof = enrolment_challenge("artifact", hub, nonce, secret, request)
                message.artifact_proof = artifact_key.sign(proof)
            answer = door.Enrol(message, timeout=DEADLINE)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
    return Enrolled(
        id=answer.id,
        hub=answer.hub,
        organisation=answer.organisation,
        role=answer.role,
        ledger_key=answer.ledger_key,
        statement_key=answer.statement_key,
        receipt=answer.receipt,
        credentials=Credentials(_authorities(answer, authority), answer.certificate, key),
    )


def _authorities(answer: members_pb2.EnrolResponse, pinned: bytes) -> bytes:
    """The hub's authorities, the pinned one among them: a second one follows it while the hub changes over."""
    if pinned not in split_bundle(answer.authority, answer.hub):
        raise Denied("The hub left the authority out that the invitation names.", "Ask the core team.")
    return answer.authority
