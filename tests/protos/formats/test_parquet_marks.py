"""A submitted Parquet file holds its rows and what its writer leaves by itself: nothing that would be served unscreened."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
from datasets import Dataset
from pyarrow import parquet

from protos.formats.texts import submitted_rows, text_rows
from trust.errors import Invalid

SECRET = "AKIA" + "Z2345672345672AA"
ROWS = {"text": ["a", "b", "c"], "title": ["x", "y", "z"]}
TABLE = pyarrow.table(ROWS)


def _frame(**attributes: str) -> pandas.DataFrame:
    frame = pandas.DataFrame(ROWS)
    frame.attrs = dict(attributes)
    return frame


def _hub_style(path: Path) -> None:
    Dataset.from_dict(ROWS).to_parquet(path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: parquet.write_table(TABLE, path),
        lambda path: parquet.write_table(TABLE, path, store_schema=False, compression="zstd"),
        lambda path: _frame().to_parquet(path),
        lambda path: _frame().astype("string").to_parquet(path),
        lambda path: _frame().astype(object)[lambda rows: rows.text != "d"].to_parquet(path, index=False),
        lambda path: parquet.write_table(TABLE, path, write_page_index=True, row_group_size=1),
        _hub_style,
    ],
    ids=[
        "pyarrow",
        "without a schema of Arrow's",
        "pandas",
        "pandas strings",
        "pandas without an index",
        "indexed",
        "datasets",
    ],
)
def test_what_writers_leave_by_themselves_is_taken(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    write(tmp_path / "a")
    assert [row["text"] for _, row in submitted_rows(tmp_path / "a", "a.parquet")] == ["a", "b", "c"]


def _field(**metadata: str) -> pyarrow.Table:
    schema = pyarrow.schema([TABLE.schema.field("text").with_metadata(metadata), TABLE.schema.field("title")])
    return pyarrow.table(ROWS, schema=schema)


def _twice(path: Path) -> None:
    """A second value under the same key, which readers do not show."""
    parquet.write_table(TABLE.replace_schema_metadata({"pandas": "{}", "pandax": json.dumps(SECRET)}), path)
    path.write_bytes(path.read_bytes().replace(b"pandax", b"pandas"))


def _behind_the_schema(path: Path) -> None:
    """Bytes after Arrow's own description of the columns, which readers pass over."""
    with parquet.ParquetWriter(path, TABLE.schema, store_schema=False) as writer:
        writer.write_table(TABLE)
        schema = TABLE.schema.serialize().to_pybytes() + 100 * SECRET.encode()
        writer.add_key_value_metadata({"ARROW:schema": b64encode(schema).decode()})


def _told_of_a_column(path: Path) -> None:
    """The smallest text of a column, which readers hand out, is another than any row's."""
    parquet.write_table(pyarrow.table({"text": ["m" * len(SECRET)]}), path, use_dictionary=False, compression="none")
    whole = path.read_bytes()
    told = whole.rindex(b"m" * len(SECRET))
    path.write_bytes(whole[:told] + SECRET.encode() + whole[told + len(SECRET) :])


def _told_of_a_page(path: Path) -> None:
    """The same in the index of the pages, which stands before the footer."""
    table = pyarrow.table({"text": ["m" * len(SECRET)]})
    parquet.write_table(table, path, use_dictionary=False, compression="none", write_page_index=True)
    whole = path.read_bytes()
    index = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    told = whole.index(b"m" * len(SECRET), index.data_page_offset + index.total_compressed_size)
    path.write_bytes(whole[:told] + SECRET.encode() + whole[told + len(SECRET) :])


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (_told_of_a_column, f"statistics name '{SECRET}'"),
        (_told_of_a_page, f"statistics name '{SECRET}'"),
        (lambda path: parquet.write_table(TABLE.replace_schema_metadata({"note": SECRET}), path), "'note'"),
        (lambda path: parquet.write_table(TABLE.replace_schema_metadata({SECRET: "1"}), path), SECRET),
        (lambda path: parquet.write_table(_field(comment=SECRET), path), "column 'text' has metadata"),
        (lambda path: _frame(source=SECRET).to_parquet(path), "(?i)pandas"),
        (lambda path: _frame(**{SECRET: "1"}).to_parquet(path), "(?i)pandas"),
        (lambda path: parquet.write_table(TABLE.replace_schema_metadata({"pandas": f'"{SECRET}"'}), path), SECRET),
        (lambda path: parquet.write_table(TABLE.replace_schema_metadata({"pandas": "[" * 9000}), path), "no descr"),
        (_behind_the_schema, "Arrow schema has"),
        (_twice, "twice"),
    ],
    ids=[
        "statistics",
        "an index of pages",
        "a key",
        "a key that tells",
        "a column",
        "attributes",
        "their names",
        "no description",
        "deep",
        "long",
        "twice",
    ],
)
def test_what_somebody_put_there_is_refused_and_says_how_to_leave_it_out(
    tmp_path: Path, write: Callable[[Path], Any], why: str
) -> None:
    """Only where it would be handed on: at a site, one's own file is read as it is."""
    write(tmp_path / "a")
    with pytest.raises(Invalid, match=why) as refused:
        list(submitted_rows(tmp_path / "a", "a.parquet"))
    assert refused.value.what.startswith("a.parquet: ")


def test_a_site_reads_its_own_files_whatever_is_noted_in_them(tmp_path: Path) -> None:
    parquet.write_table(TABLE.replace_schema_metadata({"note": "ours"}), tmp_path / "a")
    assert len(list(text_rows(tmp_path / "a", "a.parquet"))) == 3
    with pytest.raises(Invalid) as refused:
        list(submitted_rows(tmp_path / "a", "a.parquet"))
    assert "replace_schema_metadata" in refused.value.todo
