"""A Flower message on its way in: its arrays go part by part into files, and never as a whole through memory (flwr 1.41).

A message is a tree of objects, each named by the SHA-256 of its content: a head "TYPE CHILDREN LENGTH", a zero byte, a body. An
array's children are its chunks; its body says in which order they follow each other, one perhaps more than once. Flower's own
functions hold all of it three times, and join chunks as often as the sender says.
"""

from __future__ import annotations

import mmap
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trust.canonical import parse
from trust.errors import Invalid, Problem

MOST_OBJECTS = 1000
"""Of a message, beside the chunks of its arrays."""
MOST_SMALL = 64 << 20
"""Bytes of those together."""
LEAST_CHUNK = 1 << 20
"""Bytes that chunks have on average at the least; Flower's have 5 MiB."""
Pull = Callable[[str], bytes | None]
"""An object's content, by its identifier; None while it is still on its way."""


class Mapped(mmap.mmap):
    """A file's bytes, read when they are looked at. The file goes with this."""

    file: Any

    @property
    def path(self) -> Path:
        return Path(self.file.name)


@dataclass(frozen=True)
class Parcel:
    """`small` are the contents of all objects but for chunks, `arrays` the bytes of each array; by their identifiers."""

    small: dict[str, bytes] = field(default_factory=dict)
    arrays: dict[str, Mapped | bytes] = field(default_factory=dict)


LONG = 0.2
"""Seconds of work after which others may have a turn, however much of a message is there."""
Unpacking = Generator[bool, None, Parcel]
"""Takes in some of what is there each time that it is asked to go on, says whether a part is missing, and ends with all of it."""


def unpack(root: str, pull: Pull, folder: Path, most: int) -> Unpacking:
    """Take in the message of the object `root`; its arrays go to files in `folder`, and have at most `most` bytes together, in
    no more chunks than there may be MiB, and two.

    Raises `Invalid` for more, and for what is no message.
    """
    parcel, orders, waiting, size = Parcel(), dict[str, list[str]](), deque([root]), 0
    parts, chunks = _Parts(pull), 2 + most // LEAST_CHUNK
    while waiting:
        name = waiting.popleft()
        if name in parcel.small:
            continue
        content = yield from parts.there(name)
        size += len(content)
        if len(parcel.small) >= MOST_OBJECTS or size > min(MOST_SMALL, most):
            raise Invalid(f"The message has more than {MOST_OBJECTS} parts or {min(MOST_SMALL, most)} bytes.")
        kind, children, body = opened(content)
        parcel.small[name] = content
        if kind == "Array":
            orders[name] = _order(children, body)
            chunks -= len(orders[name])
            if chunks < 0:
                raise Invalid(f"The message names more than {2 + most // LEAST_CHUNK} chunks of arrays.")
        else:
            waiting.extend(children)
    for name, order in orders.items():
        found = yield from _joined(order, parts, folder, most)
        parcel.arrays[name] = found
        most -= len(found)
    return parcel


def inflated(root: str, parcel: Parcel, array: Callable[..., Any], inflate: Callable[..., Any]) -> Any:
    """Flower's message, by its `Array` and its `inflate_object_from_contents`; the `data` of the arrays is what the parcel has of
    them. Raises `Invalid` for what is none."""
    objects = {  # Flower copies an array and asks for bytes: so it gets the array's name until the end
        name: array("uint8", (len(data),), "bytes", name.encode()) for name, data in parcel.arrays.items()
    }
    kind = {type(each) for each in objects.values()}
    with _reading():
        message = inflate(root, dict(parcel.small), objects=objects)
        records = message.content.values() if message.has_content() else ()
        for value in (value for record in records for value in record.values() if type(value) in kind):
            value.data = parcel.arrays[value.data.decode()]
        message.metadata.__dict__["_message_id"] = root
    return message


@contextmanager
def _reading() -> Iterator[None]:
    """For Flower's reading of what somebody else made: whatever it raises, the bytes are to blame. Raises `Invalid`."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        raise Invalid(f"What came is no message of Flower's ({type(error).__name__}).") from error


def opened(content: bytes) -> tuple[str, list[str], memoryview]:
    """An object's type, its children's identifiers and its body. Raises `Invalid`."""
    end = content.find(b"\0")
    words = content[: max(end, 0)].split(b" ")
    if len(words) != 3:
        raise Invalid("The message holds an object without a head.")
    children = [each.decode("ascii", "replace") for each in words[1].split(b",") if each]
    return words[0].decode("ascii", "replace"), children, memoryview(content)[end + 1 :]


class _Parts:
    """Asks for one after the other, and lets others have their turn."""

    def __init__(self, pull: Pull) -> None:
        self._pull, self._since = pull, time.monotonic()

    def there(self, name: str) -> Generator[bool, None, bytes]:
        while (content := self._pull(name)) is None:
            yield True
            self._since = time.monotonic()
        if time.monotonic() - self._since > LONG:
            yield False
            self._since = time.monotonic()
        return content


def _order(children: list[str], body: memoryview) -> list[str]:
    """The chunks of an array, one after the other."""
    said = parse(bytes(body))
    places = said.get("arraychunk_ids") if isinstance(said, dict) else None
    if not isinstance(places, list) or not all(type(at) is int and 0 <= at < len(children) for at in places):
        raise Invalid("The message holds an array that does not say which chunks it has.")
    return [children[at] for at in places]


def _joined(order: list[str], parts: _Parts, folder: Path, most: int) -> Generator[bool, None, Mapped | bytes]:
    file = tempfile.NamedTemporaryFile(dir=folder, prefix="reply-")  # noqa: SIM115 - it lives as long as its mapping
    size = 0
    for name in order:
        kind, children, body = opened((yield from parts.there(name)))
        size += len(body)
        if kind != "ArrayChunk" or children or size > most:
            raise Invalid(f"The message holds an array that is none, or of more than {most} bytes.")
        file.write(body)
    if not size:
        return b""
    file.flush()
    mapped = Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.file = file
    return mapped
