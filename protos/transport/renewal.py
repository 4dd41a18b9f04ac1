"""Certificates that renew themselves: a party asks under the one it has, before that runs out."""

from __future__ import annotations

import datetime as dt

import grpc

from protos.coalition.v1 import members_pb2, members_pb2_grpc
from protos.transport.channel import Credentials, connect
from protos.transport.errors import from_rpc_error
from trust.authorities import verify_authorities
from trust.certificates import Party, certificate_challenge, new_client_request, party_uri
from trust.errors import Denied
from trust.keys import ArtifactKey, ArtifactPublicKey
from trust.presented import read_client_certificate

DEADLINE = 15.0


def due_at(credentials: Credentials) -> dt.datetime:
    """When to renew: a third of the certificate's life is left then."""
    shown = read_client_certificate(credentials.certificate)
    return shown.expires - (shown.expires - shown.issued) / 3


def is_due(credentials: Credentials) -> bool:
    return dt.datetime.now(dt.UTC) >= due_at(credentials)


def has_expired(credentials: Credentials) -> bool:
    """A party whose certificate ran out is invited again."""
    return dt.datetime.now(dt.UTC) >= read_client_certificate(credentials.certificate).expires


def renew(
    address: str, credentials: Credentials, statement_key: ArtifactPublicKey, artifact_key: ArtifactKey | None
) -> Credentials:
    """New credentials for the same party, with a new TLS key; `statement_key` is the hub's, pinned at enrolment.

    `artifact_key` is the party's own, which signs for them; a node has none. Raises `Denied` for a party that was revoked or a
    hub that is not ours, `Unavailable` when nobody answers.
    """
    party = read_client_certificate(credentials.certificate).party
    key, request = new_client_request(party.name)
    proof = prove(artifact_key, party, request) if artifact_key else b""
    with connect(address, credentials) as channel:
        try:
            message = members_pb2.RenewRequest(certificate_request=request, proof=proof)
            answer = members_pb2_grpc.MembersStub(channel).Renew(message, timeout=DEADLINE)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
    return accept(answer, key, party.hub, statement_key)


def prove(artifact_key: ArtifactKey, party: Party, request: bytes) -> bytes:
    """That who holds the party's artifact key wants this certificate for it."""
    return artifact_key.sign(certificate_challenge(party_uri(party.hub, party.kind, party.name), request))


def accept(answer: members_pb2.Certified, key: bytes, hub: str, statement_key: ArtifactPublicKey) -> Credentials:
    """Credentials from what the hub certified for our TLS key. Raises `Denied` when it certified something else."""
    verify_authorities(hub, answer.authorities, answer.authorities_proof, statement_key)
    shown = read_client_certificate(answer.certificate)
    if shown.party.hub != hub or shown.keyid != ArtifactKey.from_pem(key).public.keyid:
        raise Denied("The hub certified another key than ours.", "Try again; tell the core team if it stays.")
    return Credentials(answer.authorities, answer.certificate, key)
