"""What a member's site can leave in the hub's store of messages, before anybody looks at it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree

from contributors.site.keys import site_key
from hub.rounds.allowance import MOST_HEADER, NAMED, ROW
from hub.rounds.housekeeping import keep_house
from tests.hub.rounds.flower import Flower, Site
from tests.hub.rounds.test_housekeeping import flower  # noqa: F401

MOST, PART = 1 << 20, 300 << 10


@pytest.fixture
def hub(tmp_path: Path, flower: pytest.MonkeyPatch) -> Flower:  # noqa: F811
    keep_house()
    return Flower(tmp_path / "state.db", flower, MOST)


@pytest.fixture
def site(hub: Flower, tmp_path: Path) -> Site:
    return hub.site(tmp_path / "member")


def part(size: int = PART) -> tuple[str, bytes]:
    """An object without children, and its name."""
    content = b"ConfigRecord  %d\0" % size + os.urandom(size)
    return hashlib.sha256(content).hexdigest(), content


def ask(hub: Flower, site: Site) -> None:
    message = Message(RecordDict({"task": ConfigRecord({"document": b"{}"})}), site.node.node_id, "train")
    (identifier,) = hub.grid.push_messages([message])
    assert identifier


def tree(*names: str) -> ObjectTree:
    """Of a message that is never whole: its own object never comes."""
    root = hashlib.sha256(os.urandom(8)).hexdigest()
    return ObjectTree(object_id=root, children=[ObjectTree(object_id=name) for name in names])


def stored(folder: Path) -> int:
    """Bytes in the hub's store."""
    return sum(path.stat().st_size for path in [*folder.glob("state.db*/*"), *folder.glob("state.db*")])


def test_attack_41_a_member_cannot_fill_the_hubs_disk_with_parts_of_messages(
    hub: Flower, site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """41: a site pushes part after part of a message that never ends: the hub takes as many bytes as its task allows."""
    ask(hub, site)
    parts = [part() for _ in range(20)]
    session, before = site.answer(site.take(), tree(*(name for name, _ in parts))), stored(tmp_path)

    def fill() -> None:
        for name, content in parts:
            assert site.push(session, name, content)

    with pytest.raises(httpx.HTTPStatusError) as refused:
        fill()
    assert refused.value.response.status_code == 413
    said = refused.value.response.json()["detail"]
    assert said.startswith("This site has ")
    assert f"bytes waiting here, and its task allows {MOST}: {len(parts[0][1]) + ROW} more are refused" in said
    assert site_key(tmp_path / "member").digest in caplog.text  # the ledger says whose it is
    assert stored(tmp_path) - before < MOST + (1 << 20)


def test_attack_41_nor_with_the_names_of_parts(hub: Flower, site: Site) -> None:
    """41: a tree of names takes more of the database than of the request."""
    ask(hub, site)
    message = site.take()
    names = [hashlib.sha256(bytes([number % 256, number // 256])).hexdigest() for number in range(MOST // 64 // NAMED)]
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        site.answer(message, tree(*names))


def test_attack_41_who_was_given_no_task_leaves_nothing(hub: Flower, site: Site, tmp_path: Path) -> None:
    """41: nor does a task of one site give another anything, whatever that one says in a header of its own."""
    ask(hub, site)
    other = hub.site(tmp_path / "other")
    other.fleet._client.headers[MOST_HEADER] = str(1 << 40)
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        other.answer(site.take(), tree())


def test_attack_41_a_stranger_takes_nothing_of_a_sites_allowance(hub: Flower, site: Site, tmp_path: Path) -> None:
    """41: who names another's site in its request is refused by Flower, and counts for nothing."""
    ask(hub, site)
    message, stranger = site.take(), hub.site(tmp_path / "stranger")
    name, content = part()
    session = site.answer(message, tree(name))
    stranger.node = site.node
    for _ in range(5):
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            stranger.push(session, name, content)
    assert site.push(session, name, content)


def test_what_was_fetched_waits_no_more(hub: Flower, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest site's updates of many rounds never come to more than one."""
    monkeypatch.setattr("hub.rounds.allowance.EVERY", 0.0)
    for _ in range(5):
        ask(hub, site)
        message, (name, content) = site.take(), part(PART + PART)
        root = tree(name)
        assert site.push(site.answer(message, root), name, content)
        hub.fetch(root.object_id)
