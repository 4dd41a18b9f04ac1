"""The training process outlives whatever meets a task's answer on its way to the SuperNode. Flower stands aside here."""

from __future__ import annotations

from types import SimpleNamespace, TracebackType

import httpx
import pytest
from flwr.app import Message, MessageType, RecordDict
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.task_identity import TaskIdentity

from contributors.site import clientapp
from contributors.site.clientapp import Answer, serve
from protos.documents.rounds import RoundReply


class Door:
    """A SuperNode that has a task whenever it is asked."""

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def AcquireTask(self, request: object) -> SimpleNamespace:
        return SimpleNamespace(token="token", HasField=lambda name: True)

    def SendTaskHeartbeat(self, request: object) -> SimpleNamespace:
        return SimpleNamespace(success=True)


def refuse(task: object, files: object) -> Answer:
    return RoundReply(campaign="campaign-a", round=1, refusal="not today"), b""


def test_the_next_task_is_taken_whatever_became_of_the_answer_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    fates: list[BaseException | None] = [
        ObjectPushError("part", 1, "session"),  # the campaign was stopped amid the upload
        httpx.ConnectError("the SuperNode died"),
        None,
        KeyboardInterrupt(),  # the end of this test
    ]
    sent: list[Message] = []

    def push(client: object, reply: Message, context: object) -> None:
        sent.append(reply)
        if (fate := fates.pop(0)) is not None:
            raise fate

    asked = Message(RecordDict(), dst_node_id=1, message_type=MessageType.TRAIN)
    monkeypatch.setattr(clientapp.RuntimeHttpClient, "from_server_address", lambda **given: Door())
    monkeypatch.setattr(clientapp, "pull_task_input", lambda client: (asked, None, None, None))
    monkeypatch.setattr(clientapp, "push_message", push)
    monkeypatch.setattr(clientapp, "push_task_output", lambda *given: None)
    with pytest.raises(KeyboardInterrupt):
        serve(1, b"secret", refuse)
    assert len(sent) == 4
