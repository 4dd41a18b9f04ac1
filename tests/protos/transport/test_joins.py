"""What a reply may be: arrays are joined within bounds, whatever their sender says of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from hub.rounds.grid import check_joins
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
    with pytest.raises(Invalid, match="more bytes than an update may"):
        check_joins(said_again(contents, lambda places: places * 10), 10_000)


@pytest.mark.parametrize("places", [[7], ["x"], None])
def test_an_array_that_names_no_chunk_is_no_message(places: object) -> None:
    with pytest.raises((LookupError, TypeError)):
        check_joins(said_again(parts(10), lambda _: places), 1000)  # type: ignore[arg-type,return-value]
