"""Croissant metadata: what the specification demands (1.1, "Dataset-level Information"), and what its own library reads."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from contributors.croissant import metadata
from protos.documents.placing import Category
from protos.documents.submissions import Dataset, DatasetFile
from trust.digests import digest_bytes, digest_file

SHARD = b'{"text": "eins"}\n{"text": "zwei"}\n'
REQUIRED = ("@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished")


@pytest.fixture
def claim(tmp_path: Path) -> Dataset:
    (tmp_path / "data-00000.jsonl").write_bytes(SHARD)
    (tmp_path / "data-00001.txt").write_bytes(b"drei")
    parquet.write_table(pyarrow.table({"text": ["vier"]}), tmp_path / "data-00002.parquet")
    paths = [tmp_path / "data-00000.jsonl", tmp_path / "data-00001.txt", tmp_path / "data-00002.parquet"]
    return manifest(
        "controlled",
        *(
            DatasetFile(path=path.name, digest=digest_file(path), size=path.stat().st_size, rows=rows)
            for path, rows in zip(paths, (2, 1, 1), strict=True)
        ),
    )


def manifest(category: Category, *files: DatasetFile) -> Dataset:
    return Dataset(
        hub="test-hub",
        signer="law-institute",
        issued_at="2026-01-02T03:04:05.000Z",
        name="contracts",
        domain="law",
        licence="CC-BY-4.0",
        provenance='Written by hand: "ü".',
        category=category,
        jurisdiction=("NL", "EEA"),
        rows=sum(file.rows for file in files),
        files=files,
    )


def test_every_required_property_is_there(claim: Dataset) -> None:
    """The library is lenient (1.1.1 takes a record without a name), so this is asked for here."""
    described = metadata(claim, "data-1")
    assert all(described.get(name) for name in REQUIRED)
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert described["@type"] == "sc:Dataset"
    assert described["creator"]["@type"] == "sc:Organization"
    assert described["datePublished"] == "2026-01-02"
    for file in (part for part in described["distribution"] if part["@type"] == "cr:FileObject"):
        assert all(file.get(name) for name in ("@id", "name", "contentUrl", "encodingFormat", "sha256", "contentSize"))


def test_its_own_library_finds_no_error_and_reads_the_rows(claim: Dataset, tmp_path: Path) -> None:
    import mlcroissant

    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(metadata(claim, "data-1")))
    dataset = mlcroissant.Dataset(path)
    issues = dataset.metadata.ctx.issues
    assert (list(issues.errors), list(issues.warnings)) == ([], [])
    texts = [list(row.values()) for name in ("jsonl-rows", "txt-rows", "parquet-rows") for row in dataset.records(name)]
    assert texts == [[b"eins"], [b"zwei"], [b"drei"], [b"vier"]]


def test_terms_of_use_are_told_and_nothing_but_the_manifest_is(claim: Dataset) -> None:
    described = metadata(claim, "data-1")
    assert described["conditionsOfAccess"] == "controlled; may be processed in: NL, EEA"
    assert described["isAccessibleForFree"] is False
    file = DatasetFile(path="data-00000.jsonl", digest=digest_bytes(SHARD), size=len(SHARD), rows=2)
    assert metadata(manifest("open", file), "data-2")["isAccessibleForFree"] is True
    private = json.dumps(metadata(manifest("private", file), "data-3"))
    assert "eins" not in private
