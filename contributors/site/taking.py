"""A task from our SuperNode, taken in within bounds: what a hub sends may be anything (flwr 1.41).

Flower's own function holds a message three times, and joins an array's chunks as often as the hub says, so that a few bytes end
the process that they are for, or the machine. Here what is as large as a model lies in a file.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import cast

from flwr.app import Array, Context, Message
from flwr.common.serde import context_from_proto, message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullTaskInputRequest
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from contributors.site.policy import read_agreements
from protos.transport.parcels import Parcel, Pull, inflated, unpack
from trust.errors import Invalid

BESIDE = 64 << 20
"""Bytes of a task that is little more than its document."""
SOON = 0.05  # seconds between two looks for parts that are on their way


def half_of_memory() -> int:
    """Of this machine, in bytes: nobody could train on more."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def most_of(home: Path) -> int:
    """Bytes that a task may have: of a model as large as the largest base model that we agreed to, in fp32 where that is in bf16,
    and of what may be beside it; half of the memory where an agreement names no files."""
    agreed = [each for each in read_agreements(home).campaigns if not each.ended]
    if any(not each.base for each in agreed):
        return half_of_memory()
    largest = max((sum(file.size for file in each.base) for each in agreed), default=0)
    return min(4 * largest + BESIDE, half_of_memory())


def emptied(home: Path) -> Path:
    """The folder of the site's own into which tasks come, without what a process that was killed left in it. The system's
    temporary folder is often memory, and everybody's."""
    folder = home / "site" / "incoming"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def take_task(client: RuntimeHttpClient, most: int, folder: Path) -> tuple[Message, Context, Invalid | None]:
    """The task's message, its run's context, and what is wrong where the message has more than `most` bytes or is none: it is
    empty then, and may be answered. The message's arrays lie in `folder` for as long as it lives."""
    given = client.PullTaskInput(PullTaskInputRequest())
    context = context_from_proto(given.context)
    TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
    TaskIdentity.node_id = context.node_id
    pulled = client.PullMessages(PullAppMessagesRequest())
    if not pulled.messages_list:
        raise RuntimeError("The SuperNode has a task without a message.")
    empty, root = message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0].object_id
    try:
        message = _joined(client, context, root, most, folder)
    except Invalid as problem:
        return empty, context, problem
    return message, context, None


def _joined(client: RuntimeHttpClient, context: Context, root: str, most: int, folder: Path) -> Message:
    node = Node(node_id=context.node_id)
    pull = make_pull_object_fn_protobuf(client.PullObject, node, context.run_id)

    def part(name: str) -> bytes | None:
        try:
            content: bytes = pull(name)
        except ObjectUnavailableError:
            return None
        except ObjectPullError as error:
            raise Invalid(f"A part of the message is lost: {error}") from None
        return content

    try:
        parcel = _arrived(root, part, folder, most)
    finally:  # or it waits at the SuperNode for ever
        received = ConfirmMessageReceivedRequest(node=node, run_id=context.run_id, message_object_id=root)
        client.ConfirmMessageReceived(received)
    return cast(Message, inflated(root, parcel, Array, inflate_object_from_contents))


def _arrived(root: str, part: Pull, folder: Path, most: int) -> Parcel:
    """All of it, which may be on its way still."""
    unpacking = unpack(root, part, folder, most)
    while True:
        try:
            awaited = next(unpacking)
        except StopIteration as done:
            return cast(Parcel, done.value)
        if awaited:
            time.sleep(SOON)
