"""From a member's files to shards, and refusals that name file and line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from contributors import packing
from contributors.packing import Packed, list_dataset, pack_dataset, pack_suite
from contributors.texts import size_of_texts
from protos.documents import suite_files
from trust.digests import digest_file
from trust.errors import Invalid, NotFound


def pack(source: Path, target: Path) -> Packed:
    return pack_dataset(source, target)


def write_rows(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(packed: Packed) -> list[dict[str, Any]]:
    shards = [file for file in packed.files if file.path.endswith(".jsonl")]
    return [
        json.loads(line) for file in shards for line in packed.sources[file.digest].path.read_text("utf-8").splitlines()
    ]


def test_every_kind_of_file_becomes_rows_in_the_order_of_names(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_rows(source / "a.jsonl", {"text": "eins"}, {"text": "zwei: ü", "title": "T"})
    (source / "b.txt").write_text("drei\n")
    (source / "deep").mkdir()
    (source / "deep" / "c.md").write_text("# vier")
    parquet.write_table(pyarrow.table({"text": ["fünf", None, " "], "other": [1, 2, 3]}), source / "e.parquet")
    packed = pack(source, tmp_path / "packed")
    assert [row["text"] for row in rows_of(packed)] == ["eins", "zwei: ü", "drei", "# vier", "fünf"]
    assert packed.rows == 5
    for file in packed.files:
        path = packed.sources[file.digest].path
        assert (digest_file(path), path.stat().st_size, path.name) == (file.digest, file.size, file.path)


def test_fields_that_nobody_asked_for_stay_with_their_owner(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", {"text": "x", "title": "T", "source": 5, "patient": "Jane Doe"})
    assert rows_of(pack(source, tmp_path / "packed")) == [{"text": "x", "title": "T"}]


def test_files_of_other_kinds_are_told_and_hidden_ones_are_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_rows(source / "a.jsonl", {"text": "x"})
    (source / "scan.pdf").write_bytes(b"%PDF")
    (source / ".git").mkdir()
    (source / ".git" / "notes.txt").write_text("hidden")
    (tmp_path / "secret.txt").write_text("elsewhere")
    (source / "link.txt").symlink_to(tmp_path / "secret.txt")
    packed = pack(source, tmp_path / "packed")
    assert packed.left_out == ("link.txt", "scan.pdf")
    assert [row["text"] for row in rows_of(packed)] == ["x"]


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", *({"text": f"row {i}"} for i in range(50)))
    assert pack(source, tmp_path / "one").files == pack(source, tmp_path / "two").files


def test_shards_are_bounded_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SHARD_BYTES", 100)
    source = write_rows(tmp_path / "a.jsonl", *({"text": f"row {i} äöü"} for i in range(40)))
    packed = pack(source, tmp_path / "packed")
    shards = [file for file in packed.files if file.path.endswith(".jsonl")]
    assert len(shards) > 5
    assert all(file.size <= 100 for file in shards)
    assert [row["text"] for row in rows_of(packed)] == [f"row {i} äöü" for i in range(40)]


def test_what_stays_is_listed_as_it_lies_without_its_names(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_rows(source / "jane-doe.jsonl", {"text": "x", "patient": "Jane Doe"}, {"text": "y"})
    (source / "note.txt").write_text("z")
    listed = list_dataset(source)
    assert [(file.path, file.rows) for file in listed.files] == [("data-00000.jsonl", 2), ("data-00001.txt", 1)]
    assert [file.digest for file in listed.files] == [
        digest_file(source / "jane-doe.jsonl"),
        digest_file(source / "note.txt"),
    ]
    assert not listed.sources


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "bad.jsonl, line 2: the line is not JSON"),
        ("[1]", "bad.jsonl, line 2: not a JSON object"),
        ('{"title": "x"}', "bad.jsonl, line 2: the row has no `text`"),
        ('{"text": " "}', "bad.jsonl, line 2: the row has no `text`"),
        ('{"text": 5}', "bad.jsonl, line 2: the row has no `text`"),
        ('\n{"text": "x"}', "bad.jsonl, line 2: the line is empty"),
        ("[" * 100_000, "bad.jsonl, line 2: the line is nested deeper"),
        ('{"text": "' + "x" * packing.MAX_LINE + '"}', "bad.jsonl, line 2: longer than"),
        ('{"text": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(Invalid, match=message):
        pack(path, tmp_path / "packed")


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(Invalid, match=r"latin\.txt is not UTF-8 at byte 3"):
        pack(tmp_path / "latin.txt", tmp_path / "packed")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(Invalid, match=r"broken\.parquet begins like a Parquet file and is cut off"):
        pack(tmp_path / "broken.parquet", tmp_path / "packed")


def test_a_source_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        pack(tmp_path / "nowhere", tmp_path / "packed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid, match="holds no text"):
        pack(tmp_path / "empty", tmp_path / "packed")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(Invalid, match=r"image\.png is neither text nor"):
        pack(tmp_path / "image.png", tmp_path / "packed")


SUITE = {
    "format": "coalition-suite/v1",
    "name": "law-terms",
    "version": "1.0",
    "domain": "law",
    "licence": "CC-BY-4.0",
    "description": "Terms.",
    "tasks": [
        {"name": "terms", "kind": "multiple_choice", "data": "terms.jsonl", "prompt": "{definition} is"},
        {"name": "texts", "kind": "perplexity", "data": "texts.jsonl"},
    ],
}
CHOICE = {"definition": "A promise", "choices": ["contract", "tort"], "answer": 0}


def suite(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.json").write_text(json.dumps({**SUITE, **changes}))
    write_rows(folder / "terms.jsonl", CHOICE)
    write_rows(folder / "texts.jsonl", {"text": "held out"})
    return folder


def test_a_suite_is_the_files_that_it_names(tmp_path: Path) -> None:
    (suite(tmp_path / "suite") / "notes.txt").write_text("not part of it")
    for source in (tmp_path / "suite", tmp_path / "suite" / "suite.json"):
        found, packed = pack_suite(source)
        assert [file.path for file in packed.files] == ["suite.json", "terms.jsonl", "texts.jsonl"]
        assert found.name == "law-terms"


def test_a_suites_bad_row_is_named(tmp_path: Path) -> None:
    folder = suite(tmp_path / "suite")
    write_rows(folder / "terms.jsonl", CHOICE, {**CHOICE, "answer": 2})
    with pytest.raises(Invalid, match=r"terms\.jsonl, line 2: `answer`"):
        pack_suite(folder)
    (folder / "terms.jsonl").write_text("")
    with pytest.raises(Invalid, match="holds no rows"):
        pack_suite(folder)
    (folder / "terms.jsonl").unlink()
    with pytest.raises(NotFound, match=r"terms\.jsonl is missing"):
        pack_suite(folder)


@pytest.mark.parametrize(("limit", "why"), [("MAX_SUITE", "bytes; 3 are allowed"), ("MAX_ITEMS", "more than 3 items")])
def test_a_suite_that_no_hub_takes_is_refused_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, why: str
) -> None:
    folder = suite(tmp_path / "suite")
    write_rows(folder / "terms.jsonl", *[CHOICE] * 4)
    monkeypatch.setattr(suite_files, limit, 3)
    with pytest.raises(Invalid, match=why):
        pack_suite(folder)


def test_a_suite_outside_its_schema_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"suite\.json: process_docs: is not known here"):
        pack_suite(suite(tmp_path / "suite", process_docs="os.system"))
    with pytest.raises(NotFound, match=r"no suite\.json"):
        pack_suite(tmp_path)


@pytest.mark.parametrize("how", ["packed", "listed"])
def test_progress_adds_up_to_the_bytes_of_the_files(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "TOLD_EVERY", 40)
    source = tmp_path / "source"
    write_rows(source / "b.jsonl", *({"text": f"{n} ünïcode"} for n in range(50)))
    (source / "c.txt").write_text("A letter.")
    told: list[int] = []
    pack = partial(pack_dataset, source, tmp_path / "packed") if how == "packed" else partial(list_dataset, source)
    found = pack(told.append)
    assert found.rows == 51
    assert sum(told) == size_of_texts(source)
    assert len(told) > 10
    assert min(told) >= 0
