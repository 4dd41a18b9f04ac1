"""Flower's grid without Flower: every SuperNode answers at once, as its answerer says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from flwr.app import Message, RecordDict
from torch import Tensor

from hub.rounds.exchange import message_content
from learning.updates import save_tensors
from trust.canonical import emit
from trust.digests import digest_bytes

DATASET = "data-0123456789ab"
Answerer = Callable[[Message], RecordDict | None]
"""None while it has nothing to say yet."""


@dataclass
class Postbox:
    """Stands where Flower's grid does: every SuperNode answers at once, as its answerer says."""

    answerers: dict[str, Answerer]
    waiting: dict[str, Message] = field(default_factory=dict)

    def get_nodes(self) -> list[Any]:
        return [
            SimpleNamespace(node_id=number, public_key=name.encode(), last_activated_at="monday")
            for number, name in enumerate(self.answerers, start=1)
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = []
        for message in messages:
            identifier = f"{len(self.waiting)}-{message.metadata.dst_node_id}"
            self.waiting[identifier] = message
            sent.append(identifier)
        return sent

    def pull_messages(self, identifiers: list[str]) -> list[Any]:
        names = list(self.answerers)
        contents = {
            identifier: self.answerers[names[self.waiting[identifier].metadata.dst_node_id - 1]](
                self.waiting[identifier]
            )
            for identifier in identifiers
        }
        return [
            SimpleNamespace(
                metadata=SimpleNamespace(reply_to_message_id=identifier), has_error=lambda: False, content=content
            )
            for identifier, content in contents.items()
            if content is not None
        ]


def answer(tensors: dict[str, Tensor] | bytes, travels: bytes | None = None, **more: Any) -> Answerer:
    """A site that answers with this update to the task that it was given; `more` goes into its reply document, and
    `travels` instead of the update."""
    data = tensors if isinstance(tensors, bytes) else save_tensors(tensors)
    said = {"campaign": "campaign-a", "round": 2, "update": digest_bytes(data), "examples": 5, "tokens": 7}
    learned = {"data": [{"dataset": DATASET, "tokens": 7}], "loss_first": 2.0, "loss_last": 1.0, "refusal": ""}
    beside = data if travels is None else travels

    def at(message: Message) -> RecordDict:
        task = digest_bytes(cast(bytes, message.content.config_records["task"]["document"]))
        document = emit({**said, **learned, "task": task, **more})
        return message_content("reply", document, beside)

    return at
