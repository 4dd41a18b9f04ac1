"""The tokens of a run on disk."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from learning.corpus import Corpus, batch, is_held_out
from learning.mixture import Mixture, pools
from trust.errors import Invalid

CORPUS = Corpus(
    {"data-1": np.arange(10, dtype=np.uint16), "data-2": np.arange(70_000, 70_007, dtype=np.int32)},
    {"data-1": "law", "data-2": "code"},
    {"data-1": np.array([3, 0], dtype=np.uint16)},
)


def test_a_corpus_is_read_as_it_was_written_and_gives_any_length_of_sequences(tmp_path: Path) -> None:
    again = Corpus.load(CORPUS.save(tmp_path))
    assert again.domains == CORPUS.domains
    assert again.held_out["data-1"][:].tolist() == [3, 0]
    assert again.sizes == {"data-1": 10, "data-2": 7}
    assert batch(again.train, [("data-1", 1), ("data-2", 0)], 4, 80_000).tolist() == [
        [4, 5, 6, 7],
        [70_000, 70_001, 70_002, 70_003],
    ]
    assert batch(again.train, [("data-1", 1)], 5, 80_000).tolist() == [[5, 6, 7, 8, 9]]


SIZES = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=4)


@given(SIZES, st.integers(4, 60), st.integers(2, 9), st.integers(0, 99))
def test_every_batch_of_a_run_is_the_same_from_one_shard_and_from_many(
    sizes: list[tuple[int, bool]], limit: int, length: int, seed: int
) -> None:
    """Whatever the datasets' sizes and types, and wherever the shards are cut: within a dataset, a sequence or a stage."""
    tokens = {f"data-{n}": np.arange(count, dtype=np.int32) + 70_000 * wide for n, (count, wide) in enumerate(sizes)}
    corpus = Corpus(tokens, dict.fromkeys(tokens, "law"), {"data-0": np.arange(5, dtype=np.uint16)})
    with tempfile.TemporaryDirectory() as folder:
        paths = corpus.save(Path(folder), limit)
        kept = [sum(tensor.nbytes for tensor in load_file(path).values()) for path in paths]
        many = Corpus.load(paths)
        assert all(size <= limit for size in kept)
        assert len(paths) == 1 or min(kept[:-1]) > limit - 4, "only the last is not full"
        assert (many.sizes, many.domains) == (corpus.sizes, corpus.domains)
        assert many.held_out["data-0"][1:4].tolist() == [1, 2, 3]
        sequences = {name: size // length for name, size in many.sizes.items()}
        if any(sequences.values()):
            for rows in (Mixture(pools(sequences, many.domains, {}), seed).rows(step, 3) for step in range(0, 30, 3)):
                assert batch(many.train, rows, length, 80_000).equal(batch(corpus.train, rows, length, 80_000))


def test_a_shard_that_is_missing_twice_there_or_out_of_order_is_refused(tmp_path: Path) -> None:
    first, second, third = Corpus({"data-1": np.arange(5, dtype=np.uint16)}, {"data-1": "law"}).save(tmp_path, 4)
    for paths in ([first, second], [first, third], [first, second, second], [second, first, third], []):
        with pytest.raises(Invalid, match="not all there"):
            Corpus.load(paths)


def test_tokens_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    again = Corpus.load(CORPUS.save(tmp_path))
    with pytest.raises(Invalid, match="reach from 70000 to 70003, and the model has a vocabulary of 70000"):
        batch(again.train, [("data-2", 0)], 4, 70_000)


def test_a_corpus_is_the_bytes_that_safetensors_writes(tmp_path: Path) -> None:
    (shard,) = CORPUS.save(tmp_path)
    tensors = {f"train/{name}": tokens for name, tokens in CORPUS.train.items()}
    tensors |= {f"held-out/{name}": tokens for name, tokens in CORPUS.held_out.items()}
    with safe_open(shard, "np") as file:
        save_file(tensors, str(tmp_path / "theirs"), file.metadata())
    assert _parts(shard) == _parts(tmp_path / "theirs")


def _parts(path: Path) -> tuple[list[object], bytes]:
    """A file's header, its metadata in no particular order, and its tensors."""
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    return [sorted(header.pop("__metadata__").items()), *header.items()], whole[8 + size :]


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    tokens = np.memmap(tmp_path / "spool", np.int32, "w+", shape=(1 << 23,))  # 32 MiB, 16 of them once written
    tokens[-4:] = [1, 2, 3, 4]
    tracemalloc.start()
    held = _resident()
    again = Corpus.load(Corpus({"data-1": tokens}, {"data-1": "law"}).save(tmp_path, 7 << 20))
    assert batch(again.train, [("data-1", (1 << 21) - 1)], 4, 5).tolist() == [[1, 2, 3, 4]]
    assert _resident() - held < 4 << 20
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def _resident() -> int:
    """Bytes of this process's memory that no file stands behind."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


def test_the_one_file_of_a_version_before_is_read(tmp_path: Path) -> None:
    save_file(
        {"train/data-1": np.arange(3, dtype=np.uint16)}, str(tmp_path / "tokens"), {"domains": '{"data-1": "law"}'}
    )
    assert Corpus.load([tmp_path / "tokens"]).train["data-1"][:].tolist() == [0, 1, 2]


@pytest.mark.parametrize("damage", ["text", "no metadata", "matrix", "floats", "unknown", "kind"])
def test_what_is_no_corpus_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokens"
    tokens = {"train/data-1": np.zeros(4, np.uint16)}
    said = {"domains": '{"data-1": "law"}', "begins": '{"train/data-1": 0}', "shards": "1"}
    match damage:
        case "text":
            path.write_text("no safetensors")
        case "no metadata":
            save_file(tokens, str(path))
        case "matrix":
            save_file({"train/data-1": np.zeros((2, 2), np.uint16)}, str(path), said)
        case "floats":
            save_file({"train/data-1": np.zeros(4)}, str(path), said)
        case "unknown":
            save_file(tokens, str(path), said | {"domains": "{}"})
        case "kind":
            save_file({"more/data-1": tokens["train/data-1"]}, str(path), said | {"begins": '{"more/data-1": 0}'})
    with pytest.raises(Invalid):
        Corpus.load([path])


def test_a_share_of_documents_is_held_out_and_a_greater_share_holds_out_these_too() -> None:
    texts = [f"document {n}" for n in range(2000)]
    tenth, fifth = ({text for text in texts if is_held_out(text, share)} for share in (0.1, 0.2))
    assert len(tenth) == pytest.approx(200, abs=50)
    assert tenth < fifth
    assert not any(is_held_out(text, 0.0) for text in texts)
