"""Starting a node agent: who may, and what it says otherwise."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
from pathlib import Path

import pytest

from hub.training import agent
from hub.training.slurm.launcher import Cluster
from protos.coalition.v1 import training_pb2
from protos.transport.channel import Credentials
from protos.transport.keeping import write_credentials
from trust.certificates import Authority, new_client_request, party_uri
from trust.errors import Conflict, Denied, Invalid, NotFound

HUB = "127.0.0.1:1"


def test_without_an_enrolment_or_a_token_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not enrolled") as caught:
        agent.main(tmp_path / "node", HUB, "node-1", "", {})
    assert "--token" in caught.value.todo


def test_a_directory_is_one_node_for_ever(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('hub = "h"\nname = "node-1"\norganisation = "core"\n')
    with pytest.raises(Invalid, match="is the node node-1, not node-2"):
        agent.main(tmp_path, HUB, "node-2", "", {})


def test_a_node_whose_certificate_ran_out_says_so_and_what_it_needs(tmp_path: Path) -> None:
    """TLS would only say that nobody answers, for ever."""
    (tmp_path / "node.toml").write_text('hub = "europe"\nname = "node-1"\norganisation = "core"\n')
    authority, (key, request) = Authority.create("europe"), new_client_request("node-1")
    began = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    certificate = authority.issue_client(request, party_uri("europe", "node", "node-1"), 1, now=began)
    write_credentials(tmp_path / "tls", Credentials(authority.cert_pem, certificate, key))
    with pytest.raises(Denied, match="certificate of node-1 has expired") as caught:
        agent.main(tmp_path, HUB, "node-1", "", {})
    assert "token" in caught.value.todo


async def test_the_agent_of_a_cluster_is_not_well_while_slurm_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is given nothing; it says so in its heartbeats."""
    monkeypatch.setattr(agent, "HEARTBEAT", 0.01)
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no Slurm
    authority, (key, request) = Authority.create("europe"), new_client_request("dgx")
    certificate = authority.issue_client(request, party_uri("europe", "node", "dgx"), 1)
    terms = agent.Terms(slurm=Cluster())
    its = agent.Agent(tmp_path, HUB, "dgx", Credentials(authority.cert_pem, certificate, key), terms)
    assert its._slurm is not None
    attending = asyncio.create_task(its._slurm.attend())
    async with asyncio.timeout(10):
        async for message in its._speak(training_pb2.Inventory()):
            if "squeue could not be run" in message.heartbeat.health:
                break
    attending.cancel()


def test_a_directory_has_one_agent_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="already"):
            agent.main(tmp_path, HUB, "node-1", "", {})


def test_an_address_is_checked_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not an address"):
        agent.main(tmp_path, "nowhere", "node-1", "token", {})
