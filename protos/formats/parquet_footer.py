"""A Parquet file's footer by a closed form: what its strings are, each by what it is for.

The footer is a struct of Thrift's compact protocol (github.com/apache/thrift, "thrift-compact-protocol"; its fields stand in
parquet.thrift of github.com/apache/parquet-format), and so are the page indexes that it leads to. A reader hands out what it
knows of them and passes the rest by: so a field that is not known here, is written twice or in a longer way than need be is
refused, and so are those that hold what no text needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trust.errors import Invalid

MAX_DEPTH = 10
_TRUE, _FALSE, _I8, _I16, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 9, 12
_NUMBERS = {_I16, _I32, _I64}

# What a field may be: a number, a truth, a string by its purpose, a list (of one of these) or a struct.
_NUMBER, _TRUTH, _OFFSET, _LENGTH = "number", "truth", "offset", "length"
_STRINGS = ("name", "key", "value", "writer", "bound")
_Struct = Mapping[int, Any]
_EMPTY: Final[_Struct] = {}
_KEY_VALUE: Final[_Struct] = {1: "key", 2: "value"}
_STATISTICS: Final[_Struct] = {
    1: "bound",
    2: "bound",
    5: "bound",
    6: "bound",
    3: _NUMBER,
    4: _NUMBER,
    7: _TRUTH,
    8: _TRUTH,
}
_CHUNK_DATA: Final[_Struct] = {
    **dict.fromkeys((1, 4, 5, 6, 7, 9, 10, 11), _NUMBER),
    2: [_NUMBER],
    3: ["name"],
    12: _STATISTICS,
    13: [dict.fromkeys((1, 2, 3), _NUMBER)],
    16: {1: _NUMBER, 2: [_NUMBER], 3: [_NUMBER]},
}
_CHUNK: Final[_Struct] = {2: _NUMBER, 3: _CHUNK_DATA, 4: _NUMBER, 5: _NUMBER, 6: _OFFSET, 7: _LENGTH}
_GROUP: Final[_Struct] = {
    **dict.fromkeys((2, 3, 5, 6, 7), _NUMBER),
    1: [_CHUNK],
    4: [{1: _NUMBER, 2: _TRUTH, 3: _TRUTH}],
}
_ELEMENT: Final[_Struct] = {**dict.fromkeys((1, 2, 3, 5, 6, 9), _NUMBER), 4: "name", 10: {1: _EMPTY}}
_FOOTER: Final[_Struct] = {
    1: _NUMBER,
    2: [_ELEMENT],
    3: _NUMBER,
    4: [_GROUP],
    5: [_KEY_VALUE],
    6: "writer",
    7: [{1: _EMPTY}],
}
_INDEX: Final[_Struct] = {
    1: [_TRUTH],
    2: ["bound"],
    3: ["bound"],
    4: _NUMBER,
    5: [_NUMBER],
    6: [_NUMBER],
    7: [_NUMBER],
}


@dataclass
class Footer:
    """The strings of a footer by what they are for; `bounds` are the smallest and largest texts of columns and of pages.

    The index of a chunk's pages stands at one of the `offsets` in the file, and has as many bytes as the `lengths` say.
    """

    names: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    writers: list[bytes] = field(default_factory=list)
    bounds: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


def read_footer(data: bytes) -> Footer:
    """Raises `Invalid` for anything but the fields that a file of texts needs."""
    found = Footer()
    _Walk(data, found).whole(_FOOTER)
    if len(found.offsets) != len(found.lengths):
        raise _damaged()
    return found


def read_index(data: bytes, found: Footer) -> None:
    """The bounds that the index of a chunk's pages names, into `found`. Raises as `read_footer`."""
    _Walk(data, found).whole(_INDEX)


class _Walk:
    def __init__(self, data: bytes, found: Footer) -> None:
        self.data, self.at, self.found = data, 0, found

    def whole(self, known: _Struct) -> None:
        self.struct(known, 0)
        if self.at != len(self.data):
            raise _damaged()

    def struct(self, known: _Struct, depth: int) -> None:
        last = 0
        while (head := self._byte()) != 0:
            delta, kind = head >> 4, head & 0x0F
            number = last + delta if delta else _signed(self._varint())
            if number <= last or (not delta and number - last <= 15) or number not in known:
                raise Invalid(
                    f"its footer has a field {number} that a file of texts does not need.",
                    "Write it anew with pyarrow, without bloom filters, encryption or metadata of columns.",
                )
            last = number
            if kind not in (_TRUE, _FALSE):
                self._value(known[number], kind, depth + 1)
            elif known[number] != _TRUTH:
                raise _damaged()

    def _value(self, known: Any, kind: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _damaged()
        if isinstance(known, list) and kind == _LIST:
            self._list(known[0], depth)
        elif isinstance(known, Mapping) and kind == _STRUCT:
            self.struct(known, depth)
        elif known in (_NUMBER, _OFFSET, _LENGTH) and kind in _NUMBERS:
            number = _signed(self._varint())
            if known != _NUMBER:
                getattr(self.found, f"{known}s").append(number)
        elif known in _STRINGS and kind == _BINARY:
            getattr(self.found, f"{known}s").append(self._bytes())
        else:
            raise _damaged()

    def _list(self, known: Any, depth: int) -> None:
        head = self._byte()
        count, kind = head >> 4, head & 0x0F
        if count == 15:
            count = self._varint()
            if count < 15:
                raise _damaged()
        for _ in range(count):
            if known == _TRUTH and kind in (_TRUE, _FALSE):
                self._byte()
            else:
                self._value(known, kind, depth + 1)

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise _damaged()
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise _damaged()
        if byte == 0 and shift:  # a longer spelling than need be
            raise _damaged()
        return value

    def _bytes(self) -> bytes:
        length = self._varint()
        if length > len(self.data) - self.at:
            raise _damaged()
        self.at += length
        return self.data[self.at - length : self.at]


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _damaged() -> Invalid:
    return Invalid("its footer is damaged, or not written as Parquet's writers do.", "Write it anew with pyarrow.")
