"""The index of what was accepted: merged in pieces, so that neither the hub nor a screening holds it in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hub.submissions.screening import segments
from hub.submissions.screening.duplicates import ROW, Rows
from hub.submissions.screening.index import Index
from hub.submissions.screening.minhash import NO_KEY
from trust.errors import Corrupt


def fingerprints(count: int, seed: int = 0) -> Rows:
    """Rows that share about every tenth key with an earlier one; some have no shingle."""
    random = np.random.default_rng(seed)
    rows = np.empty(count, dtype=ROW)
    rows["digest"] = random.integers(1, 1 << 63, count)
    rows["bands"] = random.integers(1, 1 << 63, rows["bands"].shape)
    rows["bands"][::10] = rows["bands"][0]
    rows["bands"][5::10] = NO_KEY
    return rows


def keys(folder: Path, rows: Rows) -> Path:
    segments.write_keys(rows, folder / "keys")
    return folder / "keys"


def test_keys_are_sorted_and_each_once_however_many_runs_they_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "RUN", 100)
    monkeypatch.setattr(segments, "PIECE", 64)
    rows = fingerprints(1234)
    expected = np.unique(np.concatenate((rows["digest"], rows["bands"].ravel())))
    found = np.fromfile(keys(tmp_path, rows), np.uint64)
    assert np.array_equal(found, expected[expected != NO_KEY])
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]  # no run was left


def test_the_memory_of_adding_and_dropping_is_that_of_a_few_pieces(tmp_path: Path) -> None:
    """numpy tells `tracemalloc` of its arrays. What is merged here has 26 MB in keys and owners."""
    index = Index(tmp_path / "index")
    paths = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(keys(folder, fingerprints(60_000, seed=number)))
    assert sum(path.stat().st_size for path in paths) > 17e6
    tracemalloc.start()
    try:
        for number, path in enumerate(paths):
            index.add(f"data-{number}", path)
        index.drop(["data-1"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5e6
    for number, known in ((0, True), (1, False), (2, True)):
        seen = Index(tmp_path / "index").look(
            fingerprints(60_000, seed=number)[:500], ["data-0", "data-1", "data-2"], []
        )
        assert seen.own.all() == known


def test_a_segment_that_a_disk_cut_is_told(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    index.add("data-0", keys(tmp_path, fingerprints(50)))
    (segment,) = (tmp_path / "index").glob("*.owners")
    segment.write_bytes(segment.read_bytes()[:-4])
    with pytest.raises(Corrupt, match="is not whole"):
        Index(tmp_path / "index").look(fingerprints(50), ["data-0"], [])
    with pytest.raises(Corrupt):
        index.add("data-1", keys(tmp_path, fingerprints(60, seed=1)))


def test_what_a_crash_left_is_removed_with_the_next_dataset(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    (tmp_path / "index/feedfacefeedface.keys").write_bytes(b"half a segment")
    index.add("data-0", keys(tmp_path, fingerprints(50)))
    assert len(list((tmp_path / "index").iterdir())) == 3
