"""A task's message, taken in by the training process from its SuperNode: what is as large as a model lies in a file (flwr 1.41).

Flower's own function holds it three times, and joins what a hub sent as often as the hub says.
"""

from __future__ import annotations

import time
from pathlib import Path

from flwr.app import Array, Context, Message
from flwr.common.serde import context_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullTaskInputRequest
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError, inflate_object_from_contents
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from protos.transport.parcels import inflated, unpack
from trust.errors import Unavailable

SOON = 0.05  # seconds between two looks for parts that are on their way
MOST = 64 << 30
"""Bytes of a message."""


def take_in(client: RuntimeHttpClient, folder: Path) -> tuple[Message, Context]:
    """The message, whose arrays lie in `folder` for as long as it lives, and its context. Raises `Unavailable` where there
    is none, `Invalid` and what Flower raises where it is no message."""
    given = client.PullTaskInput(PullTaskInputRequest())
    context = context_from_proto(given.context)
    TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
    TaskIdentity.node_id = context.node_id
    found = client.PullMessages(PullAppMessagesRequest())
    if not found.message_object_trees:
        raise Unavailable("The SuperNode has no message for its task.")
    root, node = found.message_object_trees[0].object_id, Node(node_id=context.node_id)
    pull = make_pull_object_fn_protobuf(client.PullObject, node, context.run_id)

    def part(name: str) -> bytes | None:
        try:
            content: bytes = pull(name)
        except ObjectUnavailableError:
            return None
        return content

    unpacking = unpack(root, part, folder, MOST)
    while True:
        try:
            next(unpacking)
        except StopIteration as done:
            parcel = done.value
            break
        time.sleep(SOON)
    received = ConfirmMessageReceivedRequest(node=node, run_id=context.run_id, message_object_id=root)
    client.ConfirmMessageReceived(received)
    return inflated(root, parcel, Array, inflate_object_from_contents), context
