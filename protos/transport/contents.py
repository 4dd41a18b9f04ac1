"""A document and the bytes beside it, as a message between Flower's server app and a site carries them.

Flower keeps a message as a tree of objects, and every object costs each of its receivers a request at the SuperLink and one at
its SuperNode: a record of arrays, the array and its pieces are three more. So bytes that fit into one request travel in the
document's own record, as Flower's `ConfigRecord` allows; more than that goes as an array, in pieces (flwr 1.41).
"""

from __future__ import annotations

import mmap
from typing import Any

from trust.errors import Invalid

AT_ONCE = 16 << 20
"""Bytes that travel beside the document at the most: as many as an array's piece has."""
DOCUMENT, DATA = "document", "data"
Data = bytes | mmap.mmap
"""Bytes that came: mapped from a file where they may be many."""


def packed(document: bytes, data: bytes) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What goes into the message's record, and what as arrays into another one named `DATA`, if anything."""
    if len(data) > AT_ONCE:
        return {DOCUMENT: document}, {DATA: data}
    return {DOCUMENT: document, DATA: data}, {}


def sealed(record: Any) -> Any:
    """The same Flower record, packed once: Flower packs an object to name it and again to send it. It may not change any more."""
    content = record.deflate()
    record.deflate = lambda: content
    return record


def document_of(content: Any, record: str) -> bytes:
    """The document in the `record` of a Flower message's content (`RecordDict`). Raises `Invalid` where there is none."""
    found = _beside(content, record, DOCUMENT)
    if found is None:
        raise Invalid(f"The message holds no {record}: no document of that name.")
    return found


def data_of(content: Any, record: str, bound: int) -> Data:
    """The bytes beside the document, at the most `bound`: never decoded as an array. Raises `Invalid`."""
    data: Data | None = _beside(content, record, DATA)
    if data is None:
        arrays = content.get(DATA)
        apart = getattr(arrays[DATA], "data", None) if arrays is not None and set(arrays) == {DATA} else None
        if not isinstance(apart, bytes | mmap.mmap):
            raise Invalid(f"The message holds no bytes beside its {record}, or something else.")
        data = apart
    if len(data) > bound:
        raise Invalid(f"What came beside the {record} has more than {bound} bytes.")
    return data


def _beside(content: Any, record: str, name: str) -> bytes | None:
    found = content.get(
        record
    )  # `config_records` would be in a circle with the content, and hold it until that is found
    value = found.get(name) if found is not None else None
    return value if isinstance(value, bytes) else None
