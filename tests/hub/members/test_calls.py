"""Every call of the contract and every role, over a real hub: the table decides, and a call that it lacks fails this test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

import protos.coalition.v1
from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from hub import setup
from hub.acts import act
from hub.callers import Caller, Role
from hub.calls import ALLOWED, DELEGATED, may_call
from hub.database import Database
from hub.members import invitations
from hub.settings import Settings
from protos.transport.channel import Credentials, connect
from protos.transport.enrolment import enrol
from tests.dashboards.conftest import HubProcess, free_ports
from tests.hub.members.table import expected, may
from trust.certificates import Authority
from trust.invitations import Invitation

ROLES: dict[str, Role] = {"core": "core", "contributor": "contributor", "viewer": "viewer", "node": "node"}
KINDS = {"robot-data": ["dataset"], "robot-core": ["run", "stop", "campaign", "consent", "hold"]}


def methods() -> dict[str, MethodDescriptor]:
    """Every call on the main listener, by its full name, from the generated descriptors."""
    found = {}
    for module in iter_modules(protos.coalition.v1.__path__):
        if module.name.endswith("_pb2"):
            descriptor: FileDescriptor = import_module(f"protos.coalition.v1.{module.name}").DESCRIPTOR
            for service in descriptor.services_by_name.values():
                if service.name != "Enrolment":
                    found |= {f"/{service.full_name}/{method.name}": method for method in service.methods}
    return found


def listed(table: dict[str, dict[str, frozenset[str]]]) -> set[str]:
    return {f"/coalition.v1.{service}/{name}" for service, names in table.items() for name in names}


def test_the_table_has_every_call_and_no_other() -> None:
    assert {f"/coalition.v1.{service}/{name}" for service, names in ALLOWED.items() for name in names} == set(methods())


def test_what_even_a_viewer_may_do_a_delegate_may_but_for_keys() -> None:
    """A robot that may submit must be able to read what submitting needs; a new call is decided for it as well."""
    for_all = {path for path in methods() if may_call(Caller("member", "x", "viewer"), path)}
    assert for_all - listed(DELEGATED) == {"/coalition.v1.Members/ChangeKeys"}


def test_delegates_may_do_nothing_that_is_not_in_the_table() -> None:
    assert listed(DELEGATED) <= set(methods())


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dict[str, Credentials]]]:
    directory = tmp_path_factory.mktemp("calls")
    settings = setup.create(directory / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    hub = HubProcess(settings)
    hub.start()
    try:
        yield settings, _enrolled(settings, directory)
    finally:
        hub.stop()


def _enrolled(settings: Settings, directory: Path) -> dict[str, Credentials]:
    found: dict[str, Credentials] = {}
    for name, role in ROLES.items():
        home = Home(directory / name)
        enrolled = enrol(
            settings.host, _invited(settings, name, role), name, None if role == "node" else home.artifact_key()
        )
        found[name] = enrolled.credentials
        if role != "node":
            home.save_enrolment(enrolled, f"{settings.host}:{settings.port}")
    for name, kinds in KINDS.items():
        with Coalition(Home(directory / ("core" if name == "robot-core" else "contributor"))) as member:
            found[name] = keychain.delegate(member, directory / name, name, kinds, 5, 1).credentials()
    return found


def _invited(settings: Settings, name: str, role: Role) -> Invitation:
    token = Invitation.create(Authority.load(settings.authority_dir).fingerprint, settings.enrol_port)
    database = Database(settings.database_url)
    with database.session(writing=True) as session:
        if role == "node":
            invitations.invite_node(session, token, "Core Team", f"{name}-1")
        else:
            invitations.invite_member(session, token, f"{name} institute", role)
    database.close()
    return token


def _answer(channel: grpc.Channel, path: str, method: MethodDescriptor) -> str:
    """How the hub answers an empty message: what it says when it refuses, empty when it does not."""
    try:
        if method.client_streaming:
            list(channel.stream_stream(path)(iter([b""]), timeout=10))
        else:
            list(channel.unary_stream(path)(b"", timeout=10))
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return ""


@pytest.mark.system
@pytest.mark.parametrize("party", [*ROLES, *KINDS])
def test_every_role_makes_the_calls_of_the_table_and_no_other(
    parties: tuple[Settings, dict[str, Credentials]], party: str
) -> None:
    settings, credentials = parties
    kinds = frozenset(KINDS[party]) if party in KINDS else None
    role: Role = "core" if party == "robot-core" else ROLES.get(party, "contributor")
    with connect(f"{settings.host}:{settings.port}", credentials[party]) as channel:
        for path, method in methods().items():
            said = _answer(channel, path, method)
            refused = said.startswith("PERMISSION_DENIED") and f"may not {act(path)}." in said
            assert refused is not may(role, kinds, path), (party, path, said)
            if not refused:
                assert not said.startswith(("UNKNOWN", "UNIMPLEMENTED")), (path, said)


KINDS_OF_DELEGATES = ("dataset", "suite", "run", "stop", "campaign", "consent", "hold", "sealed")


def test_what_each_role_and_each_delegate_may_do_is_what_was_decided() -> None:
    """Against a table of its own: one that is compared with itself agrees with any mistake."""
    assert set(expected()) == set(methods())
    everything = frozenset(KINDS_OF_DELEGATES)
    delegates = [None, everything, *(frozenset({kind}) for kind in KINDS_OF_DELEGATES)]
    for path, role in itertools.product(methods(), ROLES.values()):
        for kinds in delegates if role != "node" else [None]:
            who = Caller("node" if role == "node" else "member", "x", role, kinds)
            assert may_call(who, path) is may(role, kinds, path), (role, kinds, path)
