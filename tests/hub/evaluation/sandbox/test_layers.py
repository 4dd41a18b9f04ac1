"""Each layer by itself denies what it is there for, with a program that tries; and together they deny everything."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.evaluation.sandbox import limits
from hub.evaluation.sandbox.layers import lacking, refusal
from hub.evaluation.worker import _fork
from hub.settings import SANDBOX, Settings
from protos.documents.base import Document
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
    fewer = ("namespaces|landlock", "network|seccomp", "limits")
    assert lacking(fewer, {"landlock", "seccomp", "limits"}) == []
    assert lacking(fewer, {"namespaces", "seccomp"}) == ["limits"]
    assert refusal(lacking(fewer, {"network", "cgroup"})) == (
        "No suite is evaluated: the sandbox lacks namespaces or landlock, limits; "
        "an operator who can do without takes it out of `sandbox` in hub.toml."
    )


@pytest.mark.parametrize("layer", ["namespaces", "landlock", "network", "seccomp", "limits"])
def test_all_layers_are_demanded_unless_an_operator_says_otherwise(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lacking(SANDBOX, set(SANDBOX) - {layer}) == [layer]
    monkeypatch.delenv("COALITION_SANDBOX", raising=False)
    Settings(name="hub", directory=tmp_path).save()
    assert Settings.load(tmp_path).sandbox == SANDBOX
    kept = tuple(each for each in SANDBOX if each != layer)
    monkeypatch.setenv("COALITION_SANDBOX", ",".join(kept))
    assert Settings.load(tmp_path).sandbox == kept


def bound(spared: int | None, *, privileged: bool = False, kindly: bool = True) -> dict[str, Any]:
    """How a child fares that was bound by everything but one limit, its capabilities or its priority."""

    class Found(Document):
        stands: bool
        nice: int
        first_to_go: int

    def look() -> list[Document]:
        put = limits._set
        limits._set = lambda kind, most: None if kind == spared else put(kind, most)
        if privileged:
            limits.drop_capabilities = lambda: None
        if not kindly:
            limits.os.setpriority = lambda *words: None
        limits.apply(MOST)
        adjusted = int(Path("/proc/self/oom_score_adj").read_text())
        return [Found(stands=limits.standing(MOST), nice=os.getpriority(os.PRIO_PROCESS, 0), first_to_go=adjusted)]

    return Found.model_validate_json(_fork(look, 60).output).model_dump()


MOST = limits.Most(64 << 30, 60)


def test_a_child_that_is_bound_comes_last_and_goes_first() -> None:
    assert bound(None) == {"stands": True, "nice": limits.NICE, "first_to_go": 1000}


@pytest.mark.parametrize("spared", [*MOST.limits])
def test_every_limit_is_looked_at(spared: int) -> None:
    hard = resource.getrlimit(spared)[1]
    if 0 <= hard <= MOST.limits[spared]:
        pytest.skip("this machine bounds it already")
    assert not bound(spared)["stands"]


def test_capabilities_and_priority_are_looked_at() -> None:
    assert not bound(None, kindly=False)["stands"]
    if os.geteuid() == 0:
        assert not bound(None, privileged=True)["stands"]


def test_settings_know_only_these_layers(tmp_path: Path) -> None:
    assert Settings(name="hub", directory=tmp_path).sandbox == SANDBOX
    with pytest.raises(Invalid):
        Settings.read({"name": "hub", "directory": tmp_path, "sandbox": ["firewall"]})
