"""Rank 0's preparation, in a process of its own: tokenizer from the submitted text, text into packed blocks.

`python -m hub.training.prepare JOB.json` writes `tokenizer/`, `tokens.safetensors` and last `prepared.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents, save_tokenizer, train_tokenizer
from protos.documents.runs import RunSpec
from protos.formats.texts import text_rows
from trust.errors import Invalid
from trust.files import write_atomic


def main(job_path: Path) -> None:
    """The job names the run's spec and, by dataset identifier, the shards' paths."""
    job = json.loads(job_path.read_text())
    spec = RunSpec.read(job["spec"])
    shards = {dataset: [Path(path) for path in paths] for dataset, paths in job["datasets"].items()}
    folder = job_path.parent
    tokenizer = train_tokenizer(_all_texts(shards), spec.architecture.vocab_size)
    (folder / "tokenizer").mkdir(exist_ok=True)
    save_tokenizer(tokenizer, folder / "tokenizer")
    blocks: list[Blocks] = []
    counts: dict[str, int] = {}
    for dataset, paths in shards.items():
        packed = pack(encode_documents(tokenizer, _texts(paths)), spec.training.sequence_length, END_OF_TEXT_ID)
        blocks.append(packed)
        counts[dataset] = int(packed.size)
    tokens = np.concatenate(blocks)
    if not len(tokens):
        raise Invalid("The datasets hold less than one sequence of text.")
    save_file({"tokens": tokens}, str(folder / "tokens.safetensors"))
    write_atomic(folder / "prepared.json", json.dumps({"count": int(tokens.size), "by_dataset": counts}).encode())


def _all_texts(shards: dict[str, list[Path]]) -> Iterator[str]:
    for paths in shards.values():
        yield from _texts(paths)


def _texts(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield from (row["text"] for _, row in text_rows(path, path.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
