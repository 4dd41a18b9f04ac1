"""Which format a file's bytes are, whatever it is called."""

from __future__ import annotations

import io
import pickletools
import re
from pathlib import Path
from typing import Literal

from protos.formats.plaintext import CONTROL
from trust.errors import Invalid

Format = Literal["jsonl", "parquet", "text", "safetensors"]

TODO = "Give JSON Lines, Parquet, plain text (UTF-8) or safetensors."
_HEAD = 64 << 10
_PARQUET = b"PAR1"
_TAR_MAGIC = slice(257, 262)
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive, as torch.save and spreadsheets write"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"PK\x07\x08", "a part of a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3\x00", "a database"),
    (b"ARROW1", "an Arrow file"),
    (b"GGUF", "a GGUF model"),
)
"""What begins so and is not text: letters alone may begin any honest text."""
_REFUSED_TEXT = ((re.compile(rb"#![ \t]*/\S"), "a script"), (re.compile(rb"%PDF-[0-9]"), "a PDF file"))
_OBJECT = re.compile(rb'\{\s*["}]')
# Python's pickle: a protocol mark (0x80, then 0 to 5) from protocol 2 on; before it, plain opcodes (PEP 307, PEP 3154).
_PICKLE_DOES = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID"})
_PICKLE_HOLDS = frozenset({"MARK", "LIST", "DICT", "TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "PUT", "APPEND"})


def recognise(path: Path, name: str) -> Format:
    """The format of a file that others call `name`. Raises `Invalid` saying what it is instead, where that can be told."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, size - len(_PARQUET)))
        tail = file.read()
    if not head:
        raise Invalid(f"{name} is empty.", TODO)
    if head.startswith(_PARQUET):
        if size < 12 or tail != _PARQUET:
            raise Invalid(f"{name} begins like a Parquet file and is cut off.", TODO)
        return "parquet"
    if wrong := _refused(head):
        raise Invalid(f"{name} is {wrong}.", TODO)
    if _begins_like_safetensors(head, size):
        return "safetensors"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _OBJECT.match(text) or (text[:1] == b"{" and name.endswith(".jsonl")):  # a brace may begin a text, too
        return "jsonl"
    if not _decodes(head):
        raise Invalid(f"{name} is neither text nor of any other format that is taken.", TODO)
    return "text"


def _refused(head: bytes) -> str:
    if _decodes(head) and not CONTROL.search(head.decode("utf-8", "ignore")):
        what = next((what for pattern, what in _REFUSED_TEXT if pattern.match(head)), "")
    else:
        what = next((what for magic, what in _REFUSED if head.startswith(magic)), "")
        what = what or ("a tar archive" if head[_TAR_MAGIC] == b"ustar" else "")
    if not what and ((head[:1] == b"\x80" and head[1:2] <= b"\x05") or _begins_as_pickle(head)):
        what = "a pickle, which could run code"
    return what


def _decodes(head: bytes) -> bool:
    """Whether it is UTF-8, but for a character that its end cuts."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True


def _begins_as_pickle(data: bytes) -> bool:
    """Whether plain opcodes (protocols 0 and 1, which have no mark) lead from the first byte to a STOP: what follows that, no
    unpickler looks at.

    `pickletools` only reads opcodes; it runs nothing. Text almost never parses: most of its letters are no opcode.
    """
    try:
        pickletools.dis(io.BytesIO(data), io.StringIO())  # also follows the stack, which words soon empty
        seen = {opcode.name for opcode, _, _ in pickletools.genops(data)}
    except Exception:  # it raises whatever its readers of arguments raise; then these are no opcodes
        return False
    return bool(seen & (_PICKLE_DOES | _PICKLE_HOLDS))


def _begins_like_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and (length <= size or head[7] >= 0x20 or b"\x00" in head[:8])
