"""What a message may come to: arrays are joined within bounds, whatever their sender says of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from protos.transport import joins
from protos.transport.joins import bounded, check_joins, reading
from trust.errors import Invalid


def parts(size: int) -> dict[str, bytes]:
    """The objects of a message's content, as they travel, with an array of so many bytes."""
    content = RecordDict({"data": ArrayRecord({"data": Array("uint8", (size,), "bytes", b"x" * size)})})
    return {name: each.deflate() for name, each in get_all_nested_objects(content).items()}


def said_again(contents: dict[str, bytes], change: Callable[[list[int]], list[int]]) -> dict[str, bytes]:
    """Its array with other places of its chunks."""
    changed = dict(contents)
    for name, content in contents.items():
        if content.startswith(b"Array "):
            head, body = content.split(b"\0", 1)
            said = json.loads(body)
            said["arraychunk_ids"] = change(said["arraychunk_ids"])
            changed[name] = head + b"\0" + json.dumps(said).encode()
    return changed


def test_an_array_within_bounds_is_joined() -> None:
    check_joins(parts(1000), 1100)


def test_a_chunk_that_is_said_to_follow_itself_too_often_is_refused_before_it_is_joined() -> None:
    contents = parts(1000)
    check_joins(said_again(contents, lambda places: places * 10), 11_000)
    with pytest.raises(Invalid, match="more bytes than the 10000"):
        check_joins(said_again(contents, lambda places: places * 10), 10_000)


@pytest.mark.parametrize("places", [[7], ["x"], None])
def test_an_array_that_names_no_chunk_is_no_message(places: object) -> None:
    with pytest.raises((LookupError, TypeError)):
        check_joins(said_again(parts(10), lambda _: places), 1000)  # type: ignore[arg-type,return-value]


def test_bytes_are_counted_as_they_come() -> None:
    contents = {"a": b"12345", "b": b"67890"}
    pull = bounded(contents, contents.__getitem__, 10)
    assert (pull("a"), pull("b")) == (b"12345", b"67890")
    with pytest.raises(Invalid, match="more than 10 bytes"):
        pull("a")


def test_a_message_of_too_many_parts_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "MOST_OBJECTS", 1)
    with pytest.raises(Invalid, match="2 parts, and may have 1"):
        bounded(["a", "b"], lambda name: pytest.fail(name), 10)


@pytest.mark.parametrize("content", [b"", b"Unheard 0 0\0", b"Message  3\0abc", b"RecordDict  2\0{}", b"Array  2\0{}"])
def test_whatever_flower_says_of_bytes_that_are_no_message_they_are_refused(content: bytes) -> None:
    def read() -> Message:
        with reading():
            message = inflate_object_from_contents("root", {"root": content})
            assert isinstance(message, Message)
            return message

    with pytest.raises(Invalid):
        read()
