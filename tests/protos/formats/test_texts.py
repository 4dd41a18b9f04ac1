from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from protos.formats.texts import submitted_rows, text_rows
from trust.errors import Invalid


def _texts(path: Path) -> list[str]:
    return [row["text"] for _, row in text_rows(path, "given.name")]


def test_the_content_says_the_format_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('{"text": "one"}\n{"text": "two", "id": 18446744073709551615}\n')
    (tmp_path / "b.parquet").write_text("Plain words,\nof two lines.")
    parquet.write_table(pyarrow.table({"text": ["three", "four"]}), tmp_path / "c.jsonl")
    assert _texts(tmp_path / "a.txt") == ["one", "two"]
    assert _texts(tmp_path / "b.parquet") == ["Plain words,\nof two lines."]
    assert _texts(tmp_path / "c.jsonl") == ["three", "four"]


def test_a_place_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('\ufeff{"text": "one"}\n{"text": "two"}\n')
    assert [place for place, _ in text_rows(tmp_path / "a", "a.jsonl")] == ["a.jsonl, line 1", "a.jsonl, line 2"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.text().filter(str.strip), min_size=1))
def test_json_lines_come_back(tmp_path: Path, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() or "x" for text in texts]
    (tmp_path / "a").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts if text.strip()))
    assert _texts(tmp_path / "a") == [text for text in texts if text.strip()]


def test_of_a_parquet_file_rows_with_text_are_read(tmp_path: Path) -> None:
    columns = {"text": ["a", None, " ", "b"], "title": [None, "t", "", "u"], "size": [1, 2, 3, 4]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a")
    assert [row for _, row in text_rows(tmp_path / "a", "a.parquet")] == [{"text": "a"}, {"text": "b", "title": "u"}]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"text": "a", "text": "b"}', "twice"),
        (b'{"text": NaN}', "NaN"),
        (b'{"text": "a", "n": Infinity}', "Infinity"),
        (b'{"text": "\\ud800"}', "surrogate"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'{"text": "a"} {"text": "b"}', "not JSON"),
        (b'{"text": 1}', "no `text`"),
        (b'{"text": "  "}', "no `text`"),
        (b'{"title": "a"}', "no `text`"),
        (b'{"text": "a", "n": 1e999}', "too large"),
        (b'["text"]', "not a JSON object"),
        (b'{"text": "a"', "not JSON"),
    ],
)
def test_a_line_that_is_not_as_it_must_be_is_named(tmp_path: Path, line: bytes, why: str) -> None:
    (tmp_path / "a").write_bytes(b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(Invalid, match=rf"a.jsonl, line 2.*{why}"):
        list(text_rows(tmp_path / "a", "a.jsonl"))


@pytest.mark.parametrize("data", [b"caf\xe9 au lait, and more of it", b"a\x00b", b"a\x1b[31m", b"\xff\xfea\x00"])
def test_plain_text_is_utf8_without_control_characters(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(Invalid):
        list(text_rows(tmp_path / "a", "a.txt"))


@pytest.mark.parametrize("end", ["\n", "\n\n", "\n \n\r\n"])
def test_empty_lines_may_end_json_lines(tmp_path: Path, end: str) -> None:
    (tmp_path / "a").write_text('{"text": "one"}' + end)
    assert _texts(tmp_path / "a") == ["one"]


@pytest.mark.parametrize(
    "text",
    [
        "MZ is how the old programs of that house begin.",
        "BZhang wrote the first of these letters.",
        "#!important: read this note first.",
        "{Enter the king, with attendants.} My lords,",
        "GGUF and ARROW1 are names of formats.",
        f"{'a' * 256} ustar stands at byte 257 of this line.",
    ],
)
def test_letters_that_a_format_begins_with_do_not_make_a_text_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    assert _texts(tmp_path / "a") == [text]


def test_what_is_called_json_lines_and_is_broken_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("{text: 'one'}\n")
    with pytest.raises(Invalid, match=r"a\.jsonl, line 1: the line is not JSON"):
        list(text_rows(tmp_path / "a", "a.jsonl"))


def _write(path: Path, kind: str, row: dict[str, object]) -> None:
    if kind == "parquet":
        columns = {name: [{"text": "one"}.get(name), row.get(name)] for name in {"text": "", **row}}
        parquet.write_table(pyarrow.table(columns), path)
    else:
        path.write_text(json.dumps({"text": "one"}) + "\n" + json.dumps(row) + "\n")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "two", "notes": "unread"}, "'notes' is none of text, title, source"),
        ({"text": "two", "title": 7}, "title"),
        ({"title": "no text"}, "the row has no `text`"),
    ],
)
def test_a_submitted_row_holds_nothing_that_is_not_looked_at(
    tmp_path: Path, kind: str, row: dict[str, object], why: str
) -> None:
    """A member's own files may have further fields: they are left at home."""
    _write(tmp_path / "a", kind, row)
    with pytest.raises(Invalid, match=f"a.{kind}.*{why}"):
        list(submitted_rows(tmp_path / "a", f"a.{kind}"))
    _write(tmp_path / "a", kind, {"text": "two", "title": "a title", "source": "a source"})
    assert len(list(submitted_rows(tmp_path / "a", f"a.{kind}"))) == 2


def test_a_parquet_row_is_as_long_as_a_line_may_be(tmp_path: Path) -> None:
    for count, fits in ((1_000_000, True), (3_500_000, False)):  # four bytes each
        parquet.write_table(pyarrow.table({"text": ["\N{GRINNING FACE}" * count]}), tmp_path / "a")
        if fits:
            assert len(_texts(tmp_path / "a")[0]) == count
        else:
            with pytest.raises(Invalid, match="a row has more than"):
                _texts(tmp_path / "a")
