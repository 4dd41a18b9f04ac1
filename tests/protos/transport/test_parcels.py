"""What a reply may be: its arrays go to files part by part and within bounds, whatever their sender says of them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.app.message import array as arrays
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from protos.transport import parcels
from protos.transport.parcels import Mapped, Parcel, Unpacking, unpack
from trust.errors import Invalid

CHUNK = 1 << 20


@pytest.fixture(autouse=True)
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", CHUNK)


def parts(data: bytes) -> tuple[str, dict[str, bytes]]:
    """The objects of a message's content, as they travel, with an array of these bytes; and which is the root."""
    content = RecordDict({"data": ArrayRecord({"data": Array("uint8", (len(data),), "bytes", data)})})
    return content.object_id, {name: each.deflate() for name, each in get_all_nested_objects(content).items()}


def said_again(contents: dict[str, bytes], change: Callable[[list[int]], Any]) -> dict[str, bytes]:
    """Its array with other places of its chunks."""
    changed = dict(contents)
    for name, content in contents.items():
        if content.startswith(b"Array "):
            head, body = content.split(b"\0", 1)
            said = json.loads(body)
            said["arraychunk_ids"] = change(said["arraychunk_ids"])
            changed[name] = head + b"\0" + json.dumps(said).encode()
    return changed


def finished(unpacking: Unpacking) -> Parcel:
    """Of a message all of which is there."""
    try:
        while not next(unpacking):
            pass
    except StopIteration as done:
        found: Parcel = done.value
        return found
    raise AssertionError("some of it is missing")


def array_of(root: str, contents: Mapping[str, bytes], folder: Path, most: int) -> Mapped | bytes:
    (found,) = finished(unpack(root, contents.get, folder, most)).arrays.values()
    return found


def test_an_array_lies_in_a_file_that_goes_with_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    root, contents = parts(data)
    found = array_of(root, contents, tmp_path, len(data) + CHUNK)
    assert isinstance(found, Mapped)
    assert found[:] == data == found.path.read_bytes()
    assert list(tmp_path.iterdir()) == [found.path]
    del found
    assert not list(tmp_path.iterdir())


def test_what_is_on_its_way_is_taken_in_as_it_comes(tmp_path: Path) -> None:
    data = bytes(3 * CHUNK) + b"the end"  # three equal chunks travel once
    root, contents = parts(data)
    there: dict[str, bytes] = {}
    unpacking = unpack(root, there.get, tmp_path, 1 << 30)
    for name in [root, *(name for name in contents if name != root)]:
        while not next(unpacking):  # and does not end
            pass
        there[name] = contents[name]
    (found,) = finished(unpacking).arrays.values()
    assert found[:] == data


def test_memory_is_that_of_a_part_however_large_the_array(tmp_path: Path) -> None:
    root, contents = parts(bytes(20 * CHUNK) + b"x" * (20 * CHUNK))
    tracemalloc.start()
    try:
        found = array_of(root, contents, tmp_path, 1 << 30)
        assert len(found) == 40 * CHUNK
        assert tracemalloc.get_traced_memory()[1] < CHUNK
    finally:
        tracemalloc.stop()


def test_a_chunk_that_is_said_to_follow_itself_too_often_is_refused_before_it_is_joined(tmp_path: Path) -> None:
    root, contents = parts(b"x" * 1000)
    often = said_again(contents, lambda places: places * 2)
    assert len(array_of(root, often, tmp_path, 2000)) == 2000
    with pytest.raises(Invalid, match="more than 1999 bytes"):
        next(unpack(root, often.get, tmp_path, 1999))
    with pytest.raises(Invalid, match="more than 1026 chunks"):  # each of which would be a request
        next(unpack(root, said_again(contents, lambda places: places * 100_000).get, tmp_path, 1 << 30))
    assert not list(tmp_path.iterdir())


def test_all_arrays_of_a_message_have_their_chunks_together(tmp_path: Path) -> None:
    """Or a thousand arrays of nothing would be as many times the requests that one may be."""
    arrays = {f"{name}": Array("uint8", (1,), "bytes", bytes([name])) for name in range(100)}
    content = RecordDict({"data": ArrayRecord(arrays)})
    contents = {name: each.deflate() for name, each in get_all_nested_objects(content).items()}
    assert len(finished(unpack(content.object_id, contents.get, tmp_path, 98 << 20)).arrays) == 100
    asked: list[str] = []

    def pull(name: str) -> bytes:
        asked.append(name)
        return often[name]

    often = said_again(contents, lambda places: places * 2)
    with pytest.raises(Invalid, match="more than 100 chunks"):
        finished(unpack(content.object_id, pull, tmp_path, 98 << 20))
    assert not any(contents[name].startswith(b"ArrayChunk") for name in asked)


def test_others_have_a_turn_while_much_of_a_message_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "LONG", 0.0)
    root, contents = parts(bytes(3 * CHUNK))
    missing = set(contents)
    unpacking = unpack(root, lambda name: None if name in missing else contents[name], tmp_path, 1 << 30)
    assert next(unpacking)  # waits for what is not there
    missing.clear()
    assert list(unpacking) == [False] * 6  # waits for nothing: three objects, and thrice the same chunk


@pytest.mark.parametrize("places", [[7], [-1], ["x"], [True], None, {}])
def test_an_array_that_names_no_chunk_is_no_message(tmp_path: Path, places: object) -> None:
    root, contents = parts(b"x" * 10)
    with pytest.raises(Invalid, match="which chunks"):
        next(unpack(root, said_again(contents, lambda _: places).get, tmp_path, 1 << 30))


@pytest.mark.parametrize("content", [b"", b"Array", b"RecordDict a\0", b"ConfigRecord  9 9\0"])
def test_what_has_no_head_is_no_message(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Invalid, match="without a head"):
        next(unpack("root", {"root": content}.get, tmp_path, 1 << 30))


def test_a_message_of_more_than_it_may_have_beside_its_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="or 2000 bytes"):
        next(unpack("root", {"root": b"ConfigRecord  3000\0" + bytes(3000)}.get, tmp_path, 2000))
    names = [f"{number:064}" for number in range(1001)]
    many = {"root": f"RecordDict {','.join(names)} 0\0".encode(), **dict.fromkeys(names, b"ConfigRecord  0\0")}
    with pytest.raises(Invalid, match="more than 1000 parts"):
        next(unpack("root", many.get, tmp_path, 1 << 30))
