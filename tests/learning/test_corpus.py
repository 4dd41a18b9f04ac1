"""The tokens of a run on disk."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from learning.corpus import Corpus, batch, is_held_out
from trust.errors import Invalid

CORPUS = Corpus(
    {"data-1": np.arange(10, dtype=np.uint16), "data-2": np.arange(70_000, 70_007, dtype=np.int32)},
    {"data-1": "law", "data-2": "code"},
    {"data-1": np.array([3, 0], dtype=np.uint16)},
)


def test_a_corpus_is_read_as_it_was_written_and_gives_any_length_of_sequences(tmp_path: Path) -> None:
    CORPUS.save(tmp_path / "tokens")
    again = Corpus.load(tmp_path / "tokens")
    assert again.domains == CORPUS.domains
    assert again.held_out["data-1"].tolist() == [3, 0]
    assert again.sizes == {"data-1": 10, "data-2": 7}
    assert batch(again.train, [("data-1", 1), ("data-2", 0)], 4, 80_000).tolist() == [
        [4, 5, 6, 7],
        [70_000, 70_001, 70_002, 70_003],
    ]
    assert batch(again.train, [("data-1", 1)], 5, 80_000).tolist() == [[5, 6, 7, 8, 9]]


def test_tokens_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    CORPUS.save(tmp_path / "tokens")
    again = Corpus.load(tmp_path / "tokens")
    with pytest.raises(Invalid, match="reach from 70000 to 70003, and the model has a vocabulary of 70000"):
        batch(again.train, [("data-2", 0)], 4, 70_000)


def test_a_corpus_is_the_bytes_that_safetensors_writes(tmp_path: Path) -> None:
    CORPUS.save(tmp_path / "tokens")
    tensors = {f"train/{name}": tokens for name, tokens in CORPUS.train.items()}
    tensors |= {f"held-out/{name}": tokens for name, tokens in CORPUS.held_out.items()}
    save_file(tensors, str(tmp_path / "theirs"), {"domains": json.dumps(CORPUS.domains)})
    assert (tmp_path / "tokens").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    tokens = np.memmap(tmp_path / "spool", np.int32, "w+", shape=(1 << 23,))  # 32 MiB, 16 of them once written
    tokens[-4:] = [1, 2, 3, 4]
    tracemalloc.start()
    held = _resident()
    Corpus({"data-1": tokens}, {"data-1": "law"}).save(tmp_path / "tokens")
    again = Corpus.load(tmp_path / "tokens")
    assert batch(again.train, [("data-1", (1 << 21) - 1)], 4, 5).tolist() == [[1, 2, 3, 4]]
    assert _resident() - held < 4 << 20
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def _resident() -> int:
    """Bytes of this process's memory that no file stands behind."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("damage", ["text", "no metadata", "matrix", "floats", "unknown"])
def test_what_is_no_corpus_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokens"
    tokens = {"train/data-1": np.zeros(4, np.uint16)}
    match damage:
        case "text":
            path.write_text("no safetensors")
        case "no metadata":
            save_file(tokens, str(path))
        case "matrix":
            save_file({"train/data-1": np.zeros((2, 2), np.uint16)}, str(path), {"domains": '{"data-1": "law"}'})
        case "floats":
            save_file({"train/data-1": np.zeros(4)}, str(path), {"domains": '{"data-1": "law"}'})
        case "unknown":
            save_file(tokens, str(path), {"domains": "{}"})
    with pytest.raises(Invalid):
        Corpus.load(path)


def test_a_share_of_documents_is_held_out_and_a_greater_share_holds_out_these_too() -> None:
    texts = [f"document {n}" for n in range(2000)]
    tenth, fifth = ({text for text in texts if is_held_out(text, share)} for share in (0.1, 0.2))
    assert len(tenth) == pytest.approx(200, abs=50)
    assert tenth < fifth
    assert not any(is_held_out(text, 0.0) for text in texts)
