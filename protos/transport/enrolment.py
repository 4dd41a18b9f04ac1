"""Spending an invitation: pin the hub, prove our keys, receive a certificate."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from protos.coalition.v1 import common_pb2, members_pb2, members_pb2_grpc
from protos.transport.channel import Credentials, connect_as_stranger, fetch_authority
from protos.transport.errors import from_rpc_error
from trust.certificates import new_client_request, subject_of
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


def enrol(host: str, invitation: Invitation, name: str, artifact_key: ArtifactKey | None) -> Enrolled:
    """Enrol at the hub's enrolment listener; `name` is a courtesy in the certificate request.

    A member proves that it holds its artifact key; a node has none. Raises `Denied` for a wrong hub or a spent
    invitation, `Unavailable` when nobody answers.
    """
    authority = fetch_authority(host, invitation.port, invitation.ca_fingerprint)
    key, request = new_client_request(name)
    message = members_pb2.EnrolRequest(token_secret=invitation.secret, certificate_request=request)
    if artifact_key is not None:
        challenge = enrolment_challenge(subject_of(authority), invitation.secret_hash(), request)
        message.artifact_key = artifact_key.public.pem()
        message.artifact_proof = artifact_key.sign(challenge)
    with connect_as_stranger(host, invitation.port, authority) as channel:
        try:
            answer = members_pb2_grpc.EnrolmentStub(channel).Enrol(message, timeout=DEADLINE)
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
        credentials=Credentials(authority, answer.certificate, key),
    )
