"""Flower's grid for replies that anybody may have made: one is taken in at a time, bounded, and a bad one is one site's.

Flower's own (flwr 1.41) holds every reply that is there, joins the chunks of an array as often as its sender says, so that a few
bytes become more than a machine has, and raises for one that is no message, which would end the round for all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, starmap
from typing import Any, cast

from flwr.app import Message, Metadata
from flwr.app.error import Error
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents, pull_objects
from flwr.superlink.grid import HttpGrid

from hub.rounds.allowance import MOST_HEADER
from protos.transport.joins import bounded, check_joins, reading
from trust.errors import Invalid

SOON = {"initial_backoff": 0.05, "backoff_cap": 2.0}
"""Seconds after which parts that are on their way are looked for again: Flower's are 1 and 10."""
AHEAD = 512 << 20
"""Bytes: where no reply may have more, the next one is taken in while one is looked at."""
_log = logging.getLogger(__name__)


class Grid(HttpGrid):  # type: ignore[misc]
    """`most` are the bytes that a reply may have, its arrays joined; the SuperLink keeps no more of a site's (`allowance`)."""

    def __init__(self, address: str, authority: bytes, token: str, most: int) -> None:
        super().__init__(address, root_certificates=authority, token=token)
        self._most = most
        self._runtime_client._client.headers[MOST_HEADER] = str(most)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """The replies that are there, each as it is asked for, or while the one before is looked at. One that is lost, too large
        or no message comes as an error."""
        found = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
        there = zip(found.messages_list, found.message_object_trees, strict=True)
        if self._most > AHEAD:
            yield from starmap(self._reply, there)
            return
        with ThreadPoolExecutor(1) as taking:
            coming = [taking.submit(self._reply, *pair) for pair in islice(there, 1)]
            while coming:
                reply = coming.pop().result()
                coming += [taking.submit(self._reply, *pair) for pair in islice(there, 1)]
                yield reply

    def _reply(self, message: ProtoMessage, tree: ObjectTree) -> Message:
        try:
            return self._taken_in(message.metadata.message_id, tree)
        except (ObjectPullError, Invalid) as error:
            _log.warning("a reply was lost: %s", error)
            return self._lost(message.metadata.reply_to_message_id, str(error))

    def _taken_in(self, root: str, tree: ObjectTree) -> Message:
        run_id = cast(Any, self._run).run_id
        names = [each.object_id for each in iterate_object_tree(tree)]
        pull = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, run_id)
        contents = pull_objects(names, bounded(names, pull, self._most), max_tries_per_object=None, **SOON)
        received = ConfirmMessageReceivedRequest(node=self.node, run_id=run_id, message_object_id=root)
        self._runtime_client.ConfirmMessageReceived(received)
        with reading():
            check_joins(contents, self._most)
            message = cast(Message, inflate_object_from_contents(root, contents))
            message.metadata.__dict__["_message_id"] = root
        return message

    def _lost(self, asked: str, why: str) -> Message:
        here = self.node.node_id
        said = Metadata(
            run_id=cast(Any, self._run).run_id,
            message_id="",
            src_node_id=here,
            dst_node_id=here,
            message_type=SYSTEM_MESSAGE_TYPE,
            group_id="",
            ttl=0,
            reply_to_message_id=asked,
            created_at=time.time(),
        )
        return make_message(metadata=said, error=Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason=why[:500]))
