"""Who may call what: the table is complete, strangers are stopped by TLS, roles by the table, problems arrive as they left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor

from hub.access import CALLER, Access, Answers
from hub.acts import ACTS
from hub.calls import ALLOWED, roles_for
from hub.ledger.service import BlobsService, LedgerService
from hub.members import invitations
from hub.members.enrolment import EnrolmentService
from hub.members.roles import Roles
from hub.members.service import MembersService
from hub.rates import Limit, Rates
from protos.coalition.v1 import common_pb2, ledger_pb2, ledger_pb2_grpc, members_pb2, members_pb2_grpc
from protos.transport.channel import Credentials, connect
from protos.transport.enrolment import Enrolled, enrol
from protos.transport.errors import from_rpc_error
from tests.hub.conftest import ORIGIN, Base, make_authorities
from trust.certificates import Authority, new_client_request, party_uri
from trust.digests import Digest
from trust.errors import Denied, Exhausted, Invalid, NotFound, Problem, Unavailable
from trust.invitations import Invitation
from trust.keys import ArtifactKey

FILES = ("common", "evaluation", "ledger", "members", "models", "rounds", "submissions", "training", "witnesses")


def calls() -> set[tuple[str, str]]:
    """Every call of the contract, from the generated descriptors."""
    found = set()
    for name in FILES:
        descriptor: FileDescriptor = import_module(f"protos.coalition.v1.{name}_pb2").DESCRIPTOR
        for service in descriptor.services_by_name.values():
            found |= {(service.name, method.name) for method in service.methods}
    return found


def test_the_table_knows_every_call_and_no_other() -> None:
    table = {(service, method) for service, methods in ALLOWED.items() for method in methods}
    assert table == calls() - {("Enrolment", "Begin"), ("Enrolment", "Enrol")}


def test_a_refusal_of_any_call_is_in_words() -> None:
    assert {(service, method) for service, methods in ACTS.items() for method in methods} == {
        (service, method) for service, methods in ALLOWED.items() for method in methods
    }


def test_what_is_not_in_the_table_is_for_nobody() -> None:
    assert roles_for("/coalition.v1.Ledger/Rewrite") == frozenset()
    assert roles_for("/another.Service/Call") == frozenset()


class Hub:
    """The foundation's services on real TLS listeners, in a thread with its own event loop."""

    def __init__(self, base: Base, rates: Rates | None = None) -> None:
        self.base, self.rates = base, rates
        self.authorities = make_authorities(base.directory)
        self.authority = self.authorities.issuing
        self.port = self.enrol_port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> Hub:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        base = self.base
        certification = base.certification(self.authorities)
        access = Access(ORIGIN, Roles(base.database), lambda: self.authorities.issuers, self.rates)
        main = grpc.aio.server(interceptors=[access])
        members = MembersService(base.database, (), base.journal, certification)
        members_pb2_grpc.add_MembersServicer_to_server(members, main)
        ledger_pb2_grpc.add_LedgerServicer_to_server(LedgerService(base.database, base.log, base.journal), main)
        ledger_pb2_grpc.add_BlobsServicer_to_server(BlobsService(base.database, base.blobs), main)
        self.port = main.add_secure_port("127.0.0.1:0", self.authorities.credentials(mutual=True))
        door = grpc.aio.server(interceptors=[Answers()])
        service = EnrolmentService(base.database, base.journal, certification, base.log.vkey, base.hub_key.public.pem())
        members_pb2_grpc.add_EnrolmentServicer_to_server(service, door)
        self.enrol_port = door.add_secure_port("127.0.0.1:0", self.authorities.credentials(mutual=False))
        await main.start()
        await door.start()
        self._ready.set()
        await self._stop.wait()
        await asyncio.gather(main.stop(0), door.stop(0))

    def invite(self, organisation: str, role: str = "contributor", node: str = "", days: float = 1) -> Invitation:
        token = Invitation.create(self.authority.fingerprint, self.enrol_port)
        with self.base.database.session(writing=True) as session:
            if node:
                invitations.invite_node(session, token, organisation, node, days)
            else:
                invitations.invite_member(session, token, organisation, role, days)
        return token

    def enrol(self, organisation: str, role: str = "contributor") -> Enrolled:
        return enrol("127.0.0.1", self.invite(organisation, role), "me", ArtifactKey.generate())

    def connect(self, credentials: Credentials) -> grpc.Channel:
        return connect(f"127.0.0.1:{self.port}", credentials)


@pytest.fixture
def hub(base: Base) -> Iterator[Hub]:
    with Hub(base) as hub:
        yield hub


def problem_of(call: Any, request: Any) -> Problem:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return from_rpc_error(caught.value)


def test_an_invitation_makes_a_member_that_the_hub_knows_by_its_certificate(hub: Hub) -> None:
    enrolled = hub.enrol("Law Institute")
    assert (enrolled.id, enrolled.role, enrolled.hub) == ("law-institute", "contributor", ORIGIN)
    with hub.connect(enrolled.credentials) as channel:
        me = members_pb2_grpc.MembersStub(channel).WhoAmI(members_pb2.WhoAmIRequest(), timeout=10)
        assert (me.id, me.organisation) == ("law-institute", "Law Institute")


def test_an_invitation_is_spent_once_but_its_own_key_may_ask_again(hub: Hub) -> None:
    token, key = hub.invite("Law Institute"), ArtifactKey.generate()
    assert enrol("127.0.0.1", token, "me", key).id == enrol("127.0.0.1", token, "me", key).id
    with pytest.raises(Denied, match="used already"):
        enrol("127.0.0.1", token, "me", ArtifactKey.generate())
    assert hub.base.log.size == 1


def test_an_expired_or_invented_invitation_is_refused(hub: Hub) -> None:
    with pytest.raises(Denied, match="expired"):
        enrol("127.0.0.1", hub.invite("Law Institute", days=-1), "me", ArtifactKey.generate())
    with pytest.raises(Denied, match="unknown"):
        enrol("127.0.0.1", Invitation.create(hub.authority.fingerprint, hub.enrol_port), "me", ArtifactKey.generate())


def test_a_client_refuses_a_hub_with_another_authority(hub: Hub) -> None:
    impostor = Invitation.create(Digest("sha256:" + "0" * 64), hub.enrol_port)
    with pytest.raises(Denied, match="not the one"):
        enrol("127.0.0.1", impostor, "me", ArtifactKey.generate())


def test_a_node_enrols_without_an_artifact_key_and_may_not_list_members(hub: Hub) -> None:
    node = enrol("127.0.0.1", hub.invite("Core Team", node="gpu-1"), "gpu-1", None)
    assert node.role == "node"
    with hub.connect(node.credentials) as channel:
        problem = problem_of(members_pb2_grpc.MembersStub(channel).ListMembers, members_pb2.ListMembersRequest())
    assert isinstance(problem, Denied)
    assert problem.what == "A node may not list the members."


def test_a_certificate_of_another_authority_does_not_get_past_tls(hub: Hub) -> None:
    stranger = Authority.create(ORIGIN)
    key, request = new_client_request("law-institute")
    certificate = stranger.issue_client(request, party_uri(ORIGIN, "member", "law-institute"))
    with hub.connect(Credentials(hub.authority.cert_pem, certificate, key)) as channel:
        problem = problem_of(members_pb2_grpc.MembersStub(channel).WhoAmI, members_pb2.WhoAmIRequest())
    assert isinstance(problem, Unavailable)


def test_a_certificate_for_nobody_enrolled_is_refused(hub: Hub) -> None:
    key, request = new_client_request("ghost")
    certificate = hub.authority.issue_client(request, party_uri(ORIGIN, "member", "ghost"))
    with hub.connect(Credentials(hub.authority.cert_pem, certificate, key)) as channel:
        problem = problem_of(members_pb2_grpc.MembersStub(channel).WhoAmI, members_pb2.WhoAmIRequest())
    assert isinstance(problem, Denied)
    assert "not enrolled" in problem.what


def test_a_contributor_may_not_write_blobs_and_a_blob_is_hidden_from_whom_it_is_not_for(hub: Hub) -> None:
    law, other = hub.enrol("Law Institute"), hub.enrol("University")
    digest = hub.base.blobs.put(b"secret")
    with hub.connect(law.credentials) as channel:
        stub = ledger_pb2_grpc.BlobsStub(channel)
        chunks = iter([ledger_pb2.BlobChunk(digest=digest, size=6, data=b"secret")])
        assert isinstance(problem_of(stub.Write, chunks), Denied)
    with hub.connect(other.credentials) as channel:
        stub = ledger_pb2_grpc.BlobsStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Read(ledger_pb2.ReadBlobRequest(digest=digest), timeout=10))
        assert isinstance(from_rpc_error(caught.value), NotFound)


def test_a_problem_arrives_with_its_field_and_remedy(hub: Hub) -> None:
    with hub.connect(hub.enrol("Law Institute").credentials) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        problem = problem_of(stub.ReadTile, ledger_pb2.ReadTileRequest(path="../keys/log.key"))
        assert isinstance(problem, Invalid)
        assert problem.field == "path"
        missing = problem_of(stub.GetReceipt, ledger_pb2.GetReceiptRequest(id="run-000000000000"))
        assert isinstance(missing, NotFound)
        assert missing.todo == "See `coalition ledger entries`."


def test_refused_calls_count_as_calls(base: Base) -> None:
    """Of a member that may not make them, and of a name that stands for nobody: whoever knocks is slowed down in the end."""
    spending = Rates(Limit(rate=1e-3, burst=2))
    with Hub(base, spending) as hub:
        law = hub.enrol("Law Institute").credentials
        key, request = new_client_request("ghost")
        certificate = hub.authority.issue_client(request, party_uri(ORIGIN, "member", "ghost"))
        ghost = Credentials(hub.authority.cert_pem, certificate, key)
        for credentials in (law, ghost):
            with hub.connect(credentials) as channel:
                call = members_pb2_grpc.MembersStub(channel).RevokeNode
                told = [problem_of(call, common_pb2.SignedStatement()) for _ in range(3)]
            assert [type(problem) for problem in told] == [Denied, Denied, Exhausted]


def whoami(hub: Hub, kind: str, name: str, passed: list[bytes]) -> Any:
    """Ask as a party of this kind who passes certificates on."""
    key, request = new_client_request(name)
    certificate = hub.authority.issue_client(request, party_uri(ORIGIN, kind, name))
    with hub.connect(Credentials(hub.authority.cert_pem, certificate, key)) as channel:
        stub = members_pb2_grpc.MembersStub(channel)
        metadata = [(CALLER, certificate) for certificate in passed]
        try:
            return stub.WhoAmI(members_pb2.WhoAmIRequest(), timeout=10, metadata=metadata).id
        except grpc.RpcError as error:
            return from_rpc_error(error)


def test_a_process_of_the_hub_calls_for_the_party_whose_certificate_it_passes_on(hub: Hub) -> None:
    law, other = hub.enrol("Law Institute"), hub.enrol("University")
    assert whoami(hub, "hub", "process-1", [law.credentials.certificate]) == "law-institute"
    for wrong in ([], [law.credentials.certificate, other.credentials.certificate]):
        problem = whoami(hub, "hub", "process-1", wrong)
        assert isinstance(problem, Denied)
        assert "without its caller" in problem.what
    assert whoami(hub, "member", "university", [law.credentials.certificate]) == "university"


def test_a_process_of_the_hub_is_nobody_itself(hub: Hub) -> None:
    _, request = new_client_request("process-1")
    itself = hub.authority.issue_client(request, party_uri(ORIGIN, "hub", "process-1"))
    problem = whoami(hub, "hub", "process-1", [itself])
    assert isinstance(problem, Denied)
    assert "for others only" in problem.what
