"""Flower's grid for replies that anybody may have made: they come side by side, in files, bounded, and a bad one is one site's.

Flower's own (flwr 1.41) holds every reply that is there, joins the chunks of an array as often as its sender says, so that a few
bytes become more than a machine has, and raises for one that is no message, which would end the round for all. And it stays with
a reply for as long as its site is uploading it, while others wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from flwr.app import Array, Message, Metadata
from flwr.app.error import Error
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError
from flwr.superlink.grid import HttpGrid

from hub.rounds.allowance import MOST_HEADER
from protos.transport.parcels import Parcel, Unpacking, inflated, unpack
from protos.transport.pushing import push
from trust.errors import Invalid

SOON, SOON_ENOUGH = 0.05, 1.0
"""Seconds between two looks for parts that are on their way, and after which others are looked for too. A site that sends no more
of a message is no concern of ours: the SuperLink drops the message then (`housekeeping`)."""
AHEAD = 512 << 20
"""Bytes: where no reply may have more, the next one is taken in while one is looked at."""
BAD = (ObjectPullError, Invalid, ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError)
"""What a reply may be lost by: its own bytes, or that there is no room for them on the disk."""
_log = logging.getLogger(__name__)


@dataclass
class _Coming:
    """A reply that was announced: the message's identifier, how far it has come, and whether a part is missing to go on."""

    root: str
    unpacking: Unpacking
    awaited: bool = False


class Grid(HttpGrid):  # type: ignore[misc]
    """The arrays of replies lie in files in `folder`, until nobody looks at them any more."""

    def __init__(self, address: str, authority: bytes, token: str, folder: Path) -> None:
        super().__init__(address, root_certificates=authority, token=token)
        self._folder = folder
        self.most = 0
        self._coming: dict[str, _Coming] = {}  # by what they answer
        self._open: set[str] = set()  # what was ever asked for, and is not answered
        inflatable_utils.push_object_contents_from_iterable = push

    @property
    def most(self) -> int:
        """Bytes that a reply may have from now on; the SuperLink keeps no more of a site that is sent a message (`allowance`)."""
        return self._most

    @most.setter
    def most(self, most: int) -> None:
        self._most = most
        self._runtime_client._client.headers[MOST_HEADER] = str(most)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """The replies that are there, each as it is asked for, or while the one before is looked at; the `data` of an array is
        mapped. One that is lost, too large or no message comes as an error."""
        found = self._pulled(set(message_ids))
        return found if self._most > AHEAD else _ahead(found)

    def _pulled(self, asked: set[str]) -> Iterator[Message]:
        self._open |= asked
        for answered in self._coming.keys() - asked:
            self._received(answered, self._coming.pop(answered).root)
        yield from self._complete()
        if not all(each.awaited for each in self._coming.values()):
            return  # there is more to do than to wait for news
        if unknown := asked - self._coming.keys():
            late = self._open - asked
            found = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=unknown | late))
            for message in found.messages_list:
                root, answered = message.metadata.message_id, message.metadata.reply_to_message_id
                if answered in late:
                    self._received(answered, root)
                else:
                    self._coming[answered] = _Coming(root, unpack(root, self._pull, self._folder, self._most))
            yield from self._complete()

    def _complete(self) -> Iterator[Message]:
        """Those that are there now or soon."""
        began = time.monotonic()
        while self._coming:
            for answered, coming in list(self._coming.items()):
                message = self._taken_in(answered, coming)
                if message is not None:
                    del self._coming[answered]
                    yield message
            if not self._coming or time.monotonic() - began > SOON_ENOUGH:
                return
            if all(each.awaited for each in self._coming.values()):
                time.sleep(SOON)

    def _taken_in(self, answered: str, coming: _Coming) -> Message | None:
        """None while some of it is on its way, or others have their turn."""
        try:
            coming.awaited = next(coming.unpacking)
        except StopIteration as done:
            self._received(answered, coming.root)
            return self._inflated(answered, coming.root, done.value)
        except BAD as error:
            self._received(answered, coming.root)
            return self._lost(answered, error)
        return None

    def _pull(self, name: str) -> bytes | None:
        pull = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, self._run_id)
        try:
            content: bytes = pull(name)
        except ObjectUnavailableError:
            return None
        return content

    def _received(self, answered: str, root: str) -> None:
        """The SuperLink may delete all of a reply, also of one that nobody wants: it counts as its site's (`allowance`)."""
        received = ConfirmMessageReceivedRequest(node=self.node, run_id=self._run_id, message_object_id=root)
        self._runtime_client.ConfirmMessageReceived(received)
        self._open.discard(answered)

    def _inflated(self, answered: str, root: str, parcel: Parcel) -> Message:
        try:
            message = cast(Message, inflated(root, parcel, Array, inflatable_utils.inflate_object_from_contents))
            if message.metadata.reply_to_message_id != answered:
                raise Invalid("What came is an answer to another message than it was announced as.")
            return message
        except BAD as error:
            return self._lost(answered, error)

    def _lost(self, asked: str, why: Exception) -> Message:
        _log.warning("a reply was lost: %s", why)
        here = self.node.node_id
        said = Metadata(
            run_id=self._run_id,
            message_id="",
            src_node_id=here,
            dst_node_id=here,
            message_type=SYSTEM_MESSAGE_TYPE,
            group_id="",
            ttl=0,
            reply_to_message_id=asked,
            created_at=time.time(),
        )
        return make_message(metadata=said, error=Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason=str(why)[:500]))

    @property
    def _run_id(self) -> int:
        return int(cast(Any, self._run).run_id)


def _ahead(found: Iterator[Message]) -> Iterator[Message]:
    """The same, each looked for in another thread while the one before is looked at."""
    with ThreadPoolExecutor(1) as looking:
        coming = looking.submit(next, found, None)
        while (message := coming.result()) is not None:
            coming = looking.submit(next, found, None)
            yield message
