"""How many bytes a message of Flower's may come to, before anything of it is joined (flwr 1.41).

A message is a tree of objects, which come one by one. Flower joins an array's chunks as often as its sender says, so that a few
bytes become more than a machine has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from trust.errors import Invalid, Problem

MOST_OBJECTS = 10_000
Pull = Callable[[str], bytes]
"""An object's content, by its identifier."""


def bounded(names: Iterable[str], pull: Pull, most: int) -> Pull:
    """`pull` for the objects of these names, of at most `most` bytes together. It, or the call itself, raises `Invalid`."""
    count, left = sum(1 for _ in names), most
    if count > MOST_OBJECTS:
        raise Invalid(f"The message has {count} parts, and may have {MOST_OBJECTS}.")

    def counted(name: str) -> bytes:
        nonlocal left
        content = pull(name)
        left -= len(content)
        if left < 0:
            raise Invalid(f"The message has more than {most} bytes.")
        return content

    return counted


def check_joins(contents: Mapping[str, bytes], most: int) -> None:
    """Raise `Invalid` where the arrays among a message's objects would have more than `most` bytes, joined.

    An object is a head "TYPE CHILDREN LENGTH", a zero byte and a body; an array's body says which of its children follow each
    other, one perhaps more than once.
    """
    left = most
    for content in contents.values():
        head, _, body = content.partition(b"\0") if content.startswith(b"Array ") else (b"", b"", b"")
        if not head:
            continue
        children = [name for name in head.split(b" ")[1].decode().split(",") if name]
        for place in json.loads(body)["arraychunk_ids"]:
            left -= len(contents[children[place]])
            if left < 0:
                raise Invalid(f"The message holds an array that says to have more bytes than the {most} it may have.")


@contextmanager
def reading() -> Iterator[None]:
    """For Flower's reading of what somebody else made: whatever it raises, the bytes are to blame. Raises `Invalid`."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        raise Invalid(f"What came is no message of Flower's ({type(error).__name__}).") from error
