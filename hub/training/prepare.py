"""Rank 0's preparation, in a process of its own: tokenizer from the submitted text, text into tokens.

`python -m hub.training.prepare JOB.json` writes `tokenizer/`, `tokens.safetensors` and last `prepared.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from hub.training.feed import Feed
from learning.corpus import Corpus
from learning.packing import join
from learning.tokenizer import END_OF_TEXT_ID, encode_documents, save_tokenizer, train_tokenizer
from protos.documents.runs import RunSpec
from protos.formats.texts import text_rows
from trust.files import write_atomic


def main(job_path: Path) -> None:
    """The job names the run's spec and, by dataset identifier, its domain and the shards' paths. Raises `Invalid`."""
    job = json.loads(job_path.read_text())
    spec = RunSpec.read(job["spec"])
    shards = {dataset: [Path(path) for path in of["paths"]] for dataset, of in job["datasets"].items()}
    folder = job_path.parent
    tokenizer = train_tokenizer(_all_texts(shards), spec.architecture.vocab_size)
    (folder / "tokenizer").mkdir(exist_ok=True)
    save_tokenizer(tokenizer, folder / "tokenizer")
    train = {
        dataset: join(encode_documents(tokenizer, _texts(paths)), END_OF_TEXT_ID) for dataset, paths in shards.items()
    }
    corpus = Corpus(train, {dataset: of["domain"] for dataset, of in job["datasets"].items()})
    Feed(spec, corpus.sizes, corpus.domains)  # refuses what is too little
    corpus.save(folder / "tokens.safetensors")
    result = {"count": sum(corpus.sizes.values()), "by_dataset": corpus.sizes}
    write_atomic(folder / "prepared.json", json.dumps(result).encode())


def _all_texts(shards: dict[str, list[Path]]) -> Iterator[str]:
    for paths in shards.values():
        yield from _texts(paths)


def _texts(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield from (row["text"] for _, row in text_rows(path, path.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
