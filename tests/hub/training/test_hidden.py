"""What a run can see of its node: data and its own folder, never the key nor the agent's memory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc
import pytest

from hub.landlock import abi
from hub.training.hidden import visible
from hub.training.launch import Child, worker_environment
from hub.training.workplace import Workplace

pytestmark = pytest.mark.skipif(not abi(), reason="this kernel has no Landlock")

PROBE = """
import json, os, sys, tempfile
found = {}
for name, path in json.loads(sys.argv[1]).items():
    try:
        with open(path, "rb") as file:
            found[name] = file.read(100).decode("utf-8", "replace")
    except OSError as error:
        found[name] = type(error).__name__
for folder in (None, os.path.expanduser("~")):
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"room to work in")
found["credentials in the environment"] = [name for name, value in os.environ.items() if "COALITION" in name or "SECRET" in value]
print(json.dumps(found))
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's directory, with a link that leads to its key by another way."""
    for name in ("tls", "blobs"):
        (tmp_path / "node" / name).mkdir(parents=True)
    (tmp_path / "node" / "tls" / "key.pem").write_text("SECRET")
    (tmp_path / "node" / "blobs" / "text").write_text("data")
    (tmp_path / "way").symlink_to(tmp_path / "node" / "tls")
    return tmp_path / "node"


async def seen(node: Path, paths: dict[str, str], *, show_key: bool = False) -> dict[str, object]:
    """What a run of this node reads at these paths."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        place = Workplace(node, channel, show_key=show_key)
        folder = place.attempt_folder("run-1", 1)
        command = place.concealed([sys.executable, "-c", PROBE, json.dumps(paths)])
        child = await Child.start(command, worker_environment(1, False, folder / "tmp", place.home), folder / "log")
        assert await asyncio.wait_for(child.wait(), 60) == 0, child.last_words()
    return dict(json.loads((folder / "log").read_text()))


async def test_a_run_reads_its_data_and_no_key_by_any_way(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COALITION_TOKEN", "SECRET")
    agent = f"/proc/{os.getpid()}"
    found = await seen(
        node,
        {
            "data": str(node / "blobs" / "text"),
            "key": str(node / "tls" / "key.pem"),
            "key by a link": str(node.parent / "way" / "key.pem"),
            "key by the agent's root": f"{agent}/root{node}/tls/key.pem",
            "key by its own root": f"/proc/self/root{node}/tls/key.pem",
            "the agent's environment": f"{agent}/environ",
            "the agent's memory": f"{agent}/mem",
        },
    )
    assert found.pop("data") == "data"
    assert found.pop("credentials in the environment") == []
    assert set(map(str, found.values())) == {"PermissionError"}, found


async def test_an_operator_may_do_without(node: Path) -> None:
    found = await seen(node, {"key": str(node / "tls" / "key.pem")}, show_key=True)
    assert found["key"] == "SECRET"


def test_all_is_visible_but_the_way(node: Path) -> None:
    found = visible([node / "tls"])
    assert node / "blobs" in found
    assert not {node, node / "tls", node.parent, node.parent / "way", Path("/")} & set(found)
    assert Path("/usr") in found or Path("/usr").is_symlink()
