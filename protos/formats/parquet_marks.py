"""What may stand in a submitted Parquet file beside its rows: the marks that writers leave by themselves, and no text.

Key-value metadata is handed out with the file, and nobody screens it. So the footer has a closed form
(`protos/formats/parquet_footer.py`), and its metadata holds column descriptions, as pyarrow, pandas,
`datasets` and their likes write them (pandas.pydata.org, "Storing pandas DataFrame objects in Apache Parquet format"): each
key and each string of theirs is one of a closed list, or a version. Bytes that lie between the pages are beyond this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from protos.formats.parquet_footer import Footer
from trust.errors import Invalid

ARROW, FIELD_ID = b"ARROW:schema", b"PARQUET:field_id"
MAX_MARK = 8 << 10  # bytes of one value
SLACK = 512  # bytes by which another writer's Arrow schema may be longer than ours of the same columns
MAX_WRITER = 120
_WAYS_OUT = "Write it anew without: `table.replace_schema_metadata(None)` in pyarrow, `df.attrs = {}` in pandas."
# fmt: off
_KEYS = frozenset({
    "index_columns", "column_indexes", "columns", "partition_columns", "attributes", "creator", "library", "version",
    "pandas_version", "name", "field_name", "pandas_type", "numpy_type", "metadata", "encoding", "kind", "start", "stop",
    "step", "info", "features", "dtype", "_type", "id", "min_chunk_size", "max_chunk_size", "norm_level",
})
_WORDS = frozenset({
    "range", "unicode", "object", "str", "string", "string[python]", "string[pyarrow]", "large_string", "string_view",
    "large_string[pyarrow]", "empty", "mixed", "bytes", "int64", "UTF-8", "pyarrow", "fastparquet", "Value",
})
# fmt: on
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}((\.?(dev|post)|a|b|rc)[0-9]{1,4})?")
_WRITER = re.compile(r"[A-Za-z0-9 .,_+()/-]*")


def check_marks(footer: Footer, created_by: str | None, file: Mapping[bytes, bytes], schema: Any) -> None:
    """Of a file's `footer`, its writer, its key-value metadata, and its Arrow schema. Raises `Invalid`.

    What the columns' statistics say is to be compared with the rows.
    """
    if len(created_by or "") > MAX_WRITER or not _WRITER.fullmatch(created_by or ""):
        raise Invalid("its writer's name is none.", "Write it anew.")
    names = {name.encode() for name in schema.names}
    if strays := [name for name in footer.names[1:] if name not in names]:  # the first is the schema's own
        raise Invalid(f"its footer names a column {_shown(strays[0])} that it does not have.", "Write it anew.")
    if len(footer.names[0]) > MAX_WRITER or not _WRITER.fullmatch(footer.names[0].decode("utf-8", "replace")):
        raise Invalid("its schema's name is none.", "Write it anew.")
    if len(footer.keys) > len(file):
        twice = next((key for key in footer.keys if footer.keys.count(key) > 1), footer.keys[0])
        raise Invalid(f"its metadata has {_shown(twice)} twice.", _WAYS_OUT)
    for key, value in file.items():
        if key == ARROW:
            _check_arrow(value, schema)
        else:
            _check_described(key, value, schema.names)
    for key, value in (schema.metadata or {}).items():
        _check_described(key, value, schema.names)
    for field in schema:
        for key, value in (field.metadata or {}).items():
            if key != FIELD_ID or not re.fullmatch(rb"-?[0-9]{1,10}", value):
                raise Invalid(f"its column {field.name!r} has metadata, {_shown(key)}.", _WAYS_OUT)


def _check_arrow(value: bytes, schema: Any) -> None:
    """Its strings are those of `schema`, checked with it; what else it may hold is bounded by its length."""
    ours = 4 * len(schema.serialize()) // 3  # base64
    if len(value) > ours + SLACK:
        raise Invalid(
            f"its Arrow schema has {len(value)} bytes; {ours + SLACK} are allowed for its columns.", _WAYS_OUT
        )


def _check_described(key: bytes, value: bytes, columns: Collection[str]) -> None:
    try:
        if key not in (b"pandas", b"huggingface", b"content_defined_chunking") or len(value) > MAX_MARK:
            raise ValueError
        strays = [word for word in _strings(json.loads(value)) if word not in columns and not _known(word)]
    except (ValueError, RecursionError):
        raise Invalid(f"its metadata has {_shown(key)}, which is no description of columns.", _WAYS_OUT) from None
    if strays:
        raise Invalid(f"its metadata {_shown(key)} holds {strays[0][:40]!r}, which describes no column.", _WAYS_OUT)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from _strings(each)
    if isinstance(value, dict):
        yield from (key for key in value if key not in _KEYS)


def _known(word: str) -> bool:
    return word in _WORDS or _VERSION.fullmatch(word) is not None


def _shown(key: bytes) -> str:
    return repr(key[:40].decode("utf-8", "replace"))
