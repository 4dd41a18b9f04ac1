"""A round's messages to sites over Flower: who is online, one message to many, and what they answer, as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flwr.app import Message, MessageType, RecordDict

from hub.rounds.parts import Part
from trust.digests import Digest, digest_bytes
from trust.errors import Unavailable

POLL = 0.5
TIME_TO_LIVE = 24 * 3600.0

Say = Callable[[str], None]


def look(grid: Any, parts: Iterable[Part]) -> None:
    """Which SuperNodes are online; whose they are, their registered keys say."""
    online = {digest_bytes(node.public_key): node for node in grid.get_nodes()}
    for part in parts:
        node = online.get(Digest(part.site.key))
        part.activation = node.last_activated_at if node else ""
        if node:
            part.node, part.last_seen = int(node.node_id), time.monotonic()


def send(
    grid: Any, parts: Sequence[Part], content: Callable[[str], RecordDict], seconds: float, number: int, say: Say
) -> None:
    """Push the `content` for each member to all of these at once: what messages have in common is hashed and travels to the
    SuperLink once. They live for `seconds`. Raises `Unavailable`."""
    if not parts:
        return
    messages = [
        Message(
            content(part.site.member),
            dst_node_id=part.node,
            message_type=MessageType.TRAIN,
            ttl=seconds,
            group_id=str(number),
        )
        for part in parts
    ]
    for part, identifier in zip(parts, grid.push_messages(messages), strict=True):
        if not identifier:
            raise Unavailable(f"The SuperLink took no task for {part.site.member}.")
        if part.sendings:
            say(f"{part.site.member}'s site is back and gets its task again")
        part.message, part.sent_to, part.sendings = identifier, part.activation, part.sendings + 1
        part.sent_at, part.failed = time.monotonic(), False


def answers(grid: Any, parts: Iterable[Part]) -> Iterator[tuple[Part, RecordDict | None]]:
    """The answers that are there, one in memory at a time; the SuperLink waits a moment for the first of them (`waiting`).

    None where it is an error of Flower's making: the SuperNode is away, or the message was lost.
    """
    waiting = {part.message: part for part in parts if part.message}
    if not waiting:
        return
    for reply in grid.pull_messages(list(waiting)):
        part = waiting.get(reply.metadata.reply_to_message_id)
        if part is None:
            continue
        part.message, part.failed = "", reply.has_error()
        yield part, None if part.failed else reply.content


def pause(asked: float) -> None:
    """Until the next look, where nothing came of the one of the moment `asked`."""
    time.sleep(max(0.0, asked + POLL - time.monotonic()))
