"""Documents and bytes travel together in few of Flower's objects, small or large."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from contributors.site import clientapp
from hub.rounds import exchange
from protos.transport import contents
from protos.transport.contents import data_of, document_of
from trust.errors import Invalid

Content = Callable[[str, bytes, bytes], RecordDict]
both_ways = pytest.mark.parametrize("content_of", [exchange.message_content, clientapp.message_content])


@both_ways
@pytest.mark.parametrize("size", [0, 9, 10, 11, 99])
def test_what_was_sent_is_what_is_read(monkeypatch: pytest.MonkeyPatch, content_of: Content, size: int) -> None:
    monkeypatch.setattr(contents, "AT_ONCE", 10)
    content = content_of("task", b"{}", b"x" * size)
    assert document_of(content, "task") == b"{}"
    assert data_of(content, "task", size) == b"x" * size
    assert len(get_all_nested_objects(content)) == (2 if size <= 10 else 5)  # each costs its receivers two requests


@both_ways
@pytest.mark.parametrize("size", [9, 11])
def test_more_bytes_than_are_awaited_are_refused(
    monkeypatch: pytest.MonkeyPatch, content_of: Content, size: int
) -> None:
    monkeypatch.setattr(contents, "AT_ONCE", 10)
    with pytest.raises(Invalid, match="more than 8 bytes"):
        data_of(content_of("reply", b"{}", b"x" * size), "reply", 8)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"reply": ConfigRecord({"document": b"{}", "data": b""})}),
        RecordDict({"task": ConfigRecord({"document": "text", "data": "text"})}),
        RecordDict({"task": ConfigRecord({}), "data": ArrayRecord({"other": Array("uint8", (1,), "bytes", b"x")})}),
    ],
)
def test_anything_else_is_refused(content: RecordDict) -> None:
    with pytest.raises(Invalid, match="no task"):
        document_of(content, "task")
    with pytest.raises(Invalid, match="no bytes"):
        data_of(content, "task", 9)
