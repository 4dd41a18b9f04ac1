"""Nodes are heard in turns: one that says much waits for itself."""

from __future__ import annotations

import asyncio

from hub.training.inbox import MOST, Inbox
from hub.training.nodes import UNREAD, Attached, Attachments
from protos.coalition.v1 import training_pb2


async def test_a_node_that_says_much_delays_itself_alone() -> None:
    inbox: Inbox[str] = Inbox()
    for number in range(5):
        inbox.put("chatty", f"chatty {number}")
    inbox.put("quiet", "quiet 0")
    inbox.put("quiet", "quiet 1")
    said = [await inbox.get() for _ in range(7)]
    assert said[:4] == ["chatty 0", "quiet 0", "chatty 1", "quiet 1"]
    assert said[4:] == ["chatty 2", "chatty 3", "chatty 4"], "its own words stay in order"


async def test_whoever_has_filled_its_room_waits_until_a_word_was_taken() -> None:
    inbox: Inbox[int] = Inbox()

    async def talk() -> None:
        for number in range(2 * MOST):
            await inbox.room("chatty")
            inbox.put("chatty", number)

    talking = asyncio.create_task(talk())
    await asyncio.sleep(0)
    assert not talking.done()
    await asyncio.wait_for(inbox.room("quiet"), 10)
    assert [await inbox.get() for _ in range(2 * MOST)] == list(range(2 * MOST))
    await asyncio.wait_for(talking, 10)


async def test_what_is_to_be_looked_at_waits_once_and_whoever_waits_for_words_is_woken() -> None:
    inbox: Inbox[str] = Inbox()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put_once("", "look")
    assert await asyncio.wait_for(waiting, 10) == "look"
    for _ in range(3):
        inbox.put_once("", "look")
    inbox.put("a", "word")
    assert [await inbox.get(), await inbox.get()] == ["look", "word"]


async def test_a_node_that_takes_no_orders_is_sent_away() -> None:
    attachments, node = Attachments(), Attached("node-1", training_pb2.Hello())
    attachments.add(node)
    for _ in range(UNREAD + 5):
        attachments.send("node-1", training_pb2.HubMessage(report=training_pb2.Report()))
    assert attachments.get("node-1") is None
    assert await node.outgoing.get() is None
