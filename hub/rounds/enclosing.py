"""A round's task and the files beside it, as one message to all sites; large files are read when they travel (flwr 1.41)."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.app.message.arraychunk import ArrayChunk

from hub.rounds.children import CHUNK
from protos.documents.rounds import RoundTask
from protos.transport.contents import AT_ONCE, DATA, DOCUMENT, packed, sealed
from trust.canonical import emit

File = bytes | mmap.mmap


def mapped(path: Path) -> File:
    """A file's bytes, read when they are looked at."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def enclosed(task: RoundTask, files: Mapping[str, File]) -> RecordDict:
    """The files that the task names lie one after the other, as it names them: see `protos.transport.contents`."""
    document = emit(task.model_dump(mode="json"))
    views = [memoryview(files[entry.path]) for entry in task.files]
    size = sum(map(len, views))
    if size <= AT_ONCE:
        beside, _ = packed(document, b"".join(views))
        return RecordDict({"task": sealed(ConfigRecord(beside))})
    array = Array(dtype="uint8", shape=(size,), stype="bytes", data=b"")
    array.__dict__["_chunks"] = [(chunk.object_id, chunk) for chunk in map(ArrayChunk, pieces(views))]
    apart = ArrayRecord()
    apart[DATA] = array  # given to the constructor it would be copied
    return RecordDict({"task": sealed(ConfigRecord({DOCUMENT: document})), DATA: apart})


def pieces(views: Iterable[memoryview], size: int = CHUNK) -> Iterator[memoryview]:
    """All views, one after the other, in pieces of `size` bytes; of a piece that spans views there is a copy."""
    begun = b""
    for view in views:
        at = 0
        while at < len(view):
            taken = view[at : at + size - len(begun)]
            at += len(taken)
            if len(taken) == size:
                yield taken
                continue
            begun += taken
            if len(begun) == size:
                yield memoryview(begun)
                begun = b""
    if begun:
        yield memoryview(begun)
