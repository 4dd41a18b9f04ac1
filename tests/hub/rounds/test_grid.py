"""Replies come in side by side, over a SuperLink that is stood in for by what it holds of each."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.app.message import array as arrays
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity

from hub.rounds import grid as grids
from hub.rounds.grid import Grid
from protos.transport import parcels
from protos.transport.parcels import Mapped
from trust.certificates import Authority

DATA = bytes(range(256)) * 8000


class Store:
    """What the SuperLink has of each reply: its announcement, and the parts that were pushed."""

    def __init__(self) -> None:
        self.announced: dict[str, Message] = {}
        self.parts: dict[str, bytes] = {}
        self.missing: set[str] = set()
        self.confirmed: list[str] = []
        self.asked: list[list[str]] = []
        self._client = SimpleNamespace(headers={})

    def announce(self, asked: str, data: bytes) -> list[str]:
        """A site's reply, none of which has come; its parts, the last of which is its root."""
        sent = Message(RecordDict(), dst_node_id=1, message_type="train")
        sent.metadata.__dict__["_message_id"] = asked
        content = RecordDict({"data": ArrayRecord({"data": Array("uint8", (len(data),), "bytes", data)})})
        reply = Message(content, reply_to=sent)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        self.announced[asked] = remove_content_from_message(reply)
        parts = {name: each.deflate() for name, each in get_all_nested_objects(reply).items()}
        self.parts |= parts
        self.missing |= parts.keys()
        return list(parts)

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:
        self.asked.append(sorted(request.message_ids))
        found = [self.announced.pop(name) for name in request.message_ids if name in self.announced]
        return PullAppMessagesResponse(messages_list=[message_to_proto(each) for each in found])

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:
        name = request.object_id
        there = name in self.parts and name not in self.missing
        content = self.parts[name] if there else b""
        return PullObjectResponse(object_found=name in self.parts, object_available=there, object_content=content)

    def ConfirmMessageReceived(self, request: ConfirmMessageReceivedRequest) -> None:
        self.confirmed.append(request.message_object_id)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    monkeypatch.setattr(arrays, "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", 1 << 20)
    monkeypatch.setattr(grids, "SOON_ENOUGH", 0.0)
    return Store()


@pytest.fixture
def grid(store: Store, tmp_path: Path) -> Grid:
    made = Grid("127.0.0.1:1", Authority.create("test-hub").cert_pem, "token", tmp_path)
    flower: Any = made
    flower._client, flower._run = store, SimpleNamespace(run_id=1)
    made.most = 4 << 20
    return made


def answered(messages: list[Message]) -> dict[str, Message]:
    return {message.metadata.reply_to_message_id: message for message in messages}


def test_a_reply_is_mapped_from_a_file_and_its_receipt_confirmed(store: Store, grid: Grid, tmp_path: Path) -> None:
    parts = store.announce("a", DATA)
    store.missing.clear()
    (reply,) = grid.pull_messages(["a"])
    data: Any = reply.content["data"]["data"].data
    assert isinstance(data, Mapped)
    assert data[:] == DATA
    assert store.confirmed == [parts[-1]] == [reply.metadata.message_id]
    del reply, data
    assert not list(tmp_path.iterdir())


def test_who_is_still_sending_holds_up_nobody(store: Store, grid: Grid) -> None:
    slow = store.announce("slow", b"slow" * 500_000)
    quick = store.announce("quick", DATA)
    store.missing -= set(quick)
    assert answered(list(grid.pull_messages(["slow", "quick"]))).keys() == {"quick"}
    for part in reversed(slow):
        assert not list(grid.pull_messages(["slow", "other"]))
        store.missing.remove(part)
    assert answered(list(grid.pull_messages(["slow", "other"]))).keys() == {"slow"}
    assert store.asked[1] == ["other"]  # the SuperLink has told of the slow one: it knows no more of it


def test_who_has_sent_much_gives_others_their_turn(store: Store, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a reply all of which is there, too: and the server app looks at the time between."""
    monkeypatch.setattr(parcels, "LONG", 0.0)
    store.announce("large", DATA)
    store.announce("small", b"")
    store.missing.clear()
    looks = 0
    came: list[str] = []
    while len(came) < 2:
        came.extend(answered(list(grid.pull_messages(["large", "small", "absent"]))))
        looks += 1
    assert came == ["small", "large"]
    assert looks > 5
    assert len(store.asked) == 2  # first and last: nobody waits for news while there is work


def test_one_that_nobody_waits_for_any_more_is_let_go(store: Store, grid: Grid, tmp_path: Path) -> None:
    parts = store.announce("late", DATA)
    store.missing -= {parts[-1], *parts[1:]}
    assert not list(grid.pull_messages(["late"]))
    assert list(tmp_path.iterdir())  # some of it is here
    assert not list(grid.pull_messages(["other"]))
    assert not list(tmp_path.iterdir())
    assert store.confirmed == [parts[-1]]  # so the SuperLink has it no more, and its site has room for the next


def test_one_that_comes_when_nobody_waits_for_it_any_more_is_taken_off_its_sites_account(
    store: Store, grid: Grid
) -> None:
    assert not list(grid.pull_messages(["late", "other"]))
    late = store.announce("late", DATA)
    store.missing.clear()
    assert not list(grid.pull_messages(["other"]))
    assert store.confirmed == [late[-1]]
    assert not list(grid.pull_messages(["other"]))
    assert store.asked == [["late", "other"], ["late", "other"], ["other"]]


def test_one_that_is_lost_or_too_large_is_an_error_of_its_own(store: Store, grid: Grid, tmp_path: Path) -> None:
    lost = store.announce("lost", b"lost" * 500_000)
    store.announce("large", bytes(range(1, 256)) * 20_000)
    store.announce("good", DATA + b"more")
    store.missing.clear()
    del store.parts[lost[0]]  # as the SuperLink drops what nobody sends on
    found = answered(list(grid.pull_messages(["lost", "large", "good"])))
    assert not found["good"].has_error()
    assert "could not be found" in found["lost"].error.reason
    assert f"more than {4 << 20} bytes" in found["large"].error.reason
    assert len(store.confirmed) == 3
    assert not list(grid.pull_messages(["other"]))


def test_one_for_which_there_is_no_room_on_the_disk_is_an_error_of_its_own(
    store: Store, grid: Grid, tmp_path: Path
) -> None:
    store.announce("a", DATA)
    store.missing.clear()
    tmp_path.rmdir()  # no file can be made in it
    (reply,) = grid.pull_messages(["a"])
    assert reply.has_error()


def test_the_superlink_hears_with_each_task_what_its_answer_may_have(grid: Grid) -> None:
    flower: Any = grid
    assert flower._runtime_client._client.headers["coalition-most"] == str(4 << 20)
    grid.most = 7
    assert flower._runtime_client._client.headers["coalition-most"] == "7"


def test_one_that_says_that_it_answers_anothers_task_is_an_error_of_its_own(store: Store, grid: Grid) -> None:
    store.announce("ours", DATA)
    store.missing.clear()
    announcement = store.announced.pop("ours")
    announcement.metadata.__dict__["_reply_to_message_id"] = "theirs"
    store.announced["theirs"] = announcement
    (reply,) = grid.pull_messages(["theirs"])
    assert reply.has_error()
    assert reply.metadata.reply_to_message_id == "theirs"
    assert "an answer to another message" in reply.error.reason
