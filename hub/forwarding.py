"""What a hub process that does not lead does with a call that only the leader can answer: it carries it there and back.

Messages are carried as bytes. The caller's certificate goes along, and the leader authorises the caller by it as if it had
come itself: on every call and every message. The leader believes a certificate that is passed on only from a process that
holds the hub's own authority (`hub.access`). A statement is protected by its member's signature in any case.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from hub.access import CALLER, Handler
from hub.authorities import Authorities
from hub.ledger.election import Candidate, Election
from protos.transport.channel import Credentials, connect_aio
from protos.transport.errors import to_status
from trust.certificates import new_client_request, party_uri
from trust.errors import Unavailable

LOCAL: dict[str, frozenset[str]] = {
    "Members": frozenset({"WhoAmI", "ListMembers"}),
    "Ledger": frozenset({"GetHead", "ReadTile", "ListEntries", "GetReceipt"}),
    "Blobs": frozenset({"Read", "Check", "Write"}),
    "Submissions": frozenset({"Open", "Upload", "ListSubmissions", "GetSubmission"}),
    "Models": frozenset({"ListModels", "GetModel", "GetLineage"}),
    "Releases": frozenset({"ListReleases", "GetRelease"}),
    "Evaluations": frozenset({"GetEvaluation", "GetLeaderboard", "GetRanking"}),
}
"""Calls that every process answers from the database and the stores. All others need the ledger's writer or what only the
leader has in memory: nodes, runs, campaigns."""

PROCESS_DAYS = 825.0
"""How long a process may stay connected to its leader: as long as the listeners' own certificate holds."""

Dial = Callable[[Candidate], grpc.aio.Channel]


def is_local(method: str) -> bool:
    """Of a full method name (`/coalition.v1.Ledger/GetHead`). Health and reflection are everybody's own."""
    service, _, name = method.removeprefix("/coalition.v1.").partition("/")
    return not method.startswith("/coalition.v1.") or name in LOCAL.get(service, ())


class Forwarding(grpc.aio.ServerInterceptor):
    """Stands before all others, while this process follows. `follow` is called so that a caller reads what it wrote."""

    def __init__(self, election: Election, dial: Dial, follow: Callable[[], None]) -> None:
        self._election, self._dial, self._follow = election, dial, follow
        self._leader: Candidate | None = None
        self._channel: grpc.aio.Channel | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        if self._election.leading or is_local(details.method):
            return await continuation(details)

        async def carry(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for answer in self._carry(details.method, requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(carry)

    async def _carry(self, method: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        channel = await self._to_leader(context)
        certificates = context.auth_context().get("x509_pem_cert", [])
        method_there: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        call = method_there(
            requests, metadata=[(CALLER, certificate) for certificate in certificates], timeout=context.time_remaining()
        )
        try:
            async for answer in call:
                await asyncio.to_thread(self._follow)
                yield answer
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", error.trailing_metadata())
        finally:
            call.cancel()

    async def _to_leader(self, context: Any) -> grpc.aio.Channel:
        leader = self._election.known
        if leader is None or leader.name == self._election.me.name:
            problem = Unavailable("The hub is choosing which of its processes leads.", "Try again in a moment.")
            await context.abort_with_status(rpc_status.to_status(to_status(problem)))
        if leader != self._leader or self._channel is None:
            assert leader is not None  # noqa: S101  (for the type checker: `abort` raises)
            if self._channel is not None:
                await self._channel.close(None)
            self._leader, self._channel = leader, self._dial(leader)
        return self._channel


def dial_main(authorities: Authorities, host: str) -> Dial:
    """To the leader's main listener, as a process of the hub. `host` is the name in the certificate that all of them share."""

    def dial(leader: Candidate) -> grpc.aio.Channel:
        authority = authorities.issuing
        key, request = new_client_request("hub")
        uri = party_uri(authority.hub, "hub", f"process-{secrets.token_hex(4)}")
        certificate = authority.issue_client(request, uri, PROCESS_DAYS)
        return connect_aio(leader.address, Credentials(authorities.roots, certificate, key), name=host)

    return dial


def dial_enrolment(authorities: Authorities, host: str) -> Dial:
    """To the leader's listener for strangers, as one of them."""
    options = [("grpc.ssl_target_name_override", host)]

    def dial(leader: Candidate) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(authorities.roots)
        return grpc.aio.secure_channel(leader.enrolment, credentials, options=options)

    return dial
