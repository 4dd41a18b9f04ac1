"""A task from our SuperNode, taken in within bounds: what a hub sends may be anything (flwr 1.41).

Flower's own function joins an array's chunks as often as the hub says, so that a message of a few bytes ends the process that it
is for, or the machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from flwr.app import Context, Message
from flwr.common.serde import context_from_proto, message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullTaskInputRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from contributors.site.policy import read_agreements
from protos.transport.joins import bounded, check_joins, reading
from trust.errors import Invalid

BESIDE = 64 << 20
"""Bytes of a task that is little more than its document."""


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


def take_task(client: RuntimeHttpClient, most: int) -> tuple[Message, Context, Invalid | None]:
    """The task's message, its run's context, and what is wrong where the message has more than `most` bytes or is none: it is
    empty then, and may be answered."""
    given = client.PullTaskInput(PullTaskInputRequest())
    context = context_from_proto(given.context)
    TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
    TaskIdentity.node_id = context.node_id
    pulled = client.PullMessages(PullAppMessagesRequest())
    if not pulled.messages_list:
        raise RuntimeError("The SuperNode has a task without a message.")
    empty, tree = message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0]
    try:
        message = _joined(client, context, tree, most)
    except Invalid as problem:
        return empty, context, problem
    return message, context, None


def _joined(client: RuntimeHttpClient, context: Context, tree: ObjectTree, most: int) -> Message:
    node = Node(node_id=context.node_id)
    pull = make_pull_object_fn_protobuf(client.PullObject, node, context.run_id)
    names = [each.object_id for each in iterate_object_tree(tree)]
    try:
        contents = pull_objects(names, bounded(names, pull, most))
    finally:  # or it waits at the SuperNode for ever
        received = ConfirmMessageReceivedRequest(node=node, run_id=context.run_id, message_object_id=tree.object_id)
        client.ConfirmMessageReceived(received)
    with reading():
        check_joins(contents, most)
        message = cast(Message, inflate_object_from_contents(tree.object_id, contents))
        message.metadata.__dict__["_message_id"] = tree.object_id  # not part of its content
    return message
