"""Each layer by itself denies what it is there for, with a program that tries; and together they deny everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.evaluation.sandbox.layers import lacking, refusal
from hub.settings import SANDBOX, Settings
from tests.hub.evaluation.sandbox.probing import DENIED, Prey, needs_bubblewrap, needs_landlock, prey
from trust.errors import Invalid

FILES = {"passwd", "hub's key", "another's suite", "list folder", "hub's environment", "fill disk"}
NETWORK = {"TCP", "UDP", "DNS", "abstract socket"}
OTHERS = {"limits of another", "processors of another"}
CALLS = {"ptrace", "mount", "unshare", "bpf", "perf", "keyctl", "io_uring", "tkill", "setpriority"}
ALL = FILES | NETWORK | CALLS | OTHERS | {"socket file", "fork", "execute", "100 GiB", "kill"}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prey]:
    with prey(tmp_path_factory.mktemp("machine")) as found:
        yield found


def denied(found: dict[str, str], acts: set[str]) -> set[str]:
    return {act for act in acts if found[act] in DENIED}


def test_where_nothing_forbids_it_the_probe_can_do_it(machine: Prey) -> None:
    found = machine.probe()
    free = FILES | NETWORK | OTHERS | {"socket file", "fork", "execute", "kill"}
    assert {act for act in free if found[act] != "done"} == set()


@needs_landlock
def test_landlock_alone_keeps_files_tcp_and_signals(machine: Prey) -> None:
    found = machine.probe("landlock")
    expected = FILES | {"TCP", "abstract socket", "kill"}
    assert denied(found, expected) == expected
    assert found["threads"] == "done"


def test_seccomp_alone_keeps_sockets_processes_and_privileged_calls(machine: Prey) -> None:
    found = machine.probe("seccomp")
    expected = NETWORK | CALLS | OTHERS | {"socket file", "fork", "execute", "kill"}
    assert {act for act in expected if found[act] != "EPERM"} == set()
    assert found["threads"] == "done"


def test_limits_alone_keep_memory_and_disk(machine: Prey) -> None:
    found = machine.probe("limits")
    assert (found["100 GiB"], found["fill disk"]) == ("ENOMEM", "EFBIG")
    assert found["mount"] == "EPERM", "no capability is left"
    assert found["threads"] == "done"


@needs_bubblewrap
def test_namespaces_alone_keep_files_network_and_processes(machine: Prey) -> None:
    found = machine.probe("namespaces")
    expected = FILES | NETWORK | {"socket file", "kill"}
    assert denied(found, expected) == expected


def test_a_network_namespace_alone_keeps_the_network(machine: Prey) -> None:
    found = machine.probe("network")
    if found["TCP"] == "done":
        pytest.skip("this kernel gives us no user namespaces")
    assert denied(found, NETWORK) == NETWORK


@needs_landlock
@pytest.mark.parametrize("outer", ["", pytest.param("namespaces", marks=needs_bubblewrap)])
def test_together_nothing_is_left_but_threads(machine: Prey, outer: str) -> None:
    found = machine.probe("landlock", "limits", "seccomp", *filter(None, [outer]))
    assert denied(found, ALL) == ALL
    assert found["threads"] == "done"


def test_of_alternatives_one_must_stand() -> None:
    assert lacking(SANDBOX, {"landlock", "seccomp", "limits"}) == []
    assert lacking(SANDBOX, {"namespaces", "network", "limits"}) == ["seccomp"]
    missing = lacking(SANDBOX, {"network", "cgroup"})
    assert refusal(missing) == "No suite is evaluated: the sandbox lacks namespaces or landlock, seccomp, limits."


def test_settings_know_only_these_layers(tmp_path: Path) -> None:
    assert Settings(name="hub", directory=tmp_path).sandbox == SANDBOX
    with pytest.raises(Invalid):
        Settings.read({"name": "hub", "directory": tmp_path, "sandbox": ["firewall"]})
