"""Starting a node agent: who may, and what it says otherwise."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from hub.training import agent
from trust.errors import Conflict, Invalid, NotFound

HUB = "127.0.0.1:1"


def test_without_an_enrolment_or_a_token_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not enrolled") as caught:
        agent.main(tmp_path / "node", HUB, "node-1", "", {})
    assert "--token" in caught.value.todo


def test_a_directory_is_one_node_for_ever(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('hub = "h"\nname = "node-1"\norganisation = "core"\n')
    with pytest.raises(Invalid, match="is the node node-1, not node-2"):
        agent.main(tmp_path, HUB, "node-2", "", {})


def test_a_directory_has_one_agent_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="already"):
            agent.main(tmp_path, HUB, "node-1", "", {})


def test_an_address_is_checked_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not an address"):
        agent.main(tmp_path, "nowhere", "node-1", "token", {})
