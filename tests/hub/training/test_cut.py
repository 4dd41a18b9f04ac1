"""Two hosts on one machine, a network between them, and a cut through it."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.training.launch import facing
from tests.hub.training.conftest import Cluster, attached

pytestmark = pytest.mark.system


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], check=False, capture_output=True).returncode == 0


class Wire:
    """From this host to a network namespace.

    Names and addresses are drawn by chance: a suite that was killed leaves its wire lying, and another may run beside
    this one. (Names of interfaces have 15 letters at most.)
    """

    def __init__(self) -> None:
        token = secrets.token_hex(4)
        self.space = f"coalition-{token}"
        self.ends = (f"ca{token}", f"cb{token}")
        block = 4 * secrets.randbelow(2**14)
        self.here, self.there = (f"10.203.{block // 256}.{block % 256 + host}" for host in (1, 2))

    def lay(self) -> bool:
        near, far = self.ends
        return (
            ip("netns", "add", self.space)
            and ip("link", "add", near, "type", "veth", "peer", "name", far)
            and ip("link", "set", far, "netns", self.space)
            and ip("address", "add", f"{self.here}/30", "dev", near)
            and ip("link", "set", near, "up")
            and ip("-n", self.space, "address", "add", f"{self.there}/30", "dev", far)
            and ip("-n", self.space, "link", "set", "lo", "up")
            and self.mend()
        )

    def mend(self) -> bool:
        return ip("-n", self.space, "link", "set", self.ends[1], "up")

    def cut(self) -> None:
        assert ip("-n", self.space, "link", "set", self.ends[1], "down")

    def remove(self) -> None:
        ip("link", "delete", self.ends[0])
        ip("netns", "delete", self.space)


@pytest.fixture
def wire() -> Iterator[Wire]:
    laid = Wire()
    try:
        if os.geteuid() or not laid.lay():
            pytest.skip("this machine does not let a test make network namespaces")
        yield laid
    finally:
        laid.remove()


@pytest.fixture
def cluster(wire: Wire, tmp_path: Path) -> Iterator[Cluster]:
    """The hub and node-1 here, node-2 on the other host; a hub that soon gives up on it."""
    nodes = {"node-1": (), "node-2": ()}
    with attached(tmp_path, nodes, wire.here, {"node-2": wire.space}, lost_after=3.0) as cluster:
        yield cluster


def test_a_run_goes_on_from_its_checkpoint_when_a_cut_network_is_mended(wire: Wire, cluster: Cluster) -> None:
    assert facing(wire.there) == wire.ends[0]
    run = cluster.launch(steps=100_000, every=20)
    cluster.wait("the first checkpoint", lambda: cluster.show(run)["checkpoints"])
    wire.cut()
    cluster.wait("word of the loss", lambda: cluster.show(run)["state"] == "queued", 60)
    cluster.wait("the end of the work here", lambda: not cluster.workers("node-1"), 15)
    wire.mend()
    known = len(cluster.show(run)["checkpoints"])
    cluster.wait("the next checkpoint", lambda: len(cluster.show(run)["checkpoints"]) > known)
    cluster.core.coalition("run", "cancel", run)
    said = cluster.said(run)
    assert "attempt 1 was interrupted: node-2 is lost" in said
    assert any(message.startswith("attempt 2 on node-1, node-2 from step ") for message in said), said
    assert any(message.startswith("goes on from step ") for message in said), said
