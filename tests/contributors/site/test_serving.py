"""The training process outlives whatever meets a task on its way to it or an answer on its way back."""

from __future__ import annotations

from types import SimpleNamespace, TracebackType

import httpx
import pytest
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.runtime import RuntimeHttpClient

from contributors.site import clientapp
from contributors.site.clientapp import Answer, serve
from protos.documents.rounds import RoundReply


class Door:
    """Flower's client of a SuperNode that has a task whenever it is asked."""

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def AcquireTask(self, request: object) -> SimpleNamespace:
        return SimpleNamespace(token="token", HasField=lambda name: True)


def refuse(task: object, files: object) -> Answer:
    return RoundReply(campaign="campaign-a", round=1, refusal="not today"), b""


def test_the_next_task_is_taken_whatever_became_of_the_answer_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fates: list[BaseException] = [
        ObjectPushError("part", 1, "session"),  # the campaign was stopped amid the upload
        httpx.ConnectError("the SuperNode died"),
        KeyboardInterrupt(),  # the end of this test
    ]

    def meet_the_next_fate(*task: object) -> None:
        raise fates.pop(0)

    monkeypatch.setattr(RuntimeHttpClient, "from_server_address", lambda **given: Door())
    monkeypatch.setattr(clientapp, "_run_task", meet_the_next_fate)
    with pytest.raises(KeyboardInterrupt):
        serve(1, b"secret", refuse)
    assert fates == []
