"""Rank 0's preparation, in a process of its own: tokenizer from the submitted text, text into tokens.

`python -m hub.training.prepare JOB.json` writes `tokenizer/`, `tokens/` (shards) and last `prepared.json`; or `refused`, one
sentence, where the spec and the data do not go together, and ends with `os.EX_DATAERR`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hub.training.feed import Feed
from hub.training.trials import held_out_rows
from learning.corpus import Corpus, is_held_out
from learning.packing import Tokens, spool
from learning.tokenizer import END_OF_TEXT_ID, encode_documents, save_tokenizer, train_tokenizer
from protos.documents.runs import RunSpec
from protos.formats.texts import text_rows
from trust.errors import Invalid
from trust.files import write_atomic


def main(job_path: Path) -> None:
    """The job names the run's spec and, by dataset identifier, its domain and the shards' paths. Raises `Invalid`."""
    job = json.loads(job_path.read_text())
    spec = RunSpec.read(job["spec"])
    shards = {dataset: [Path(path) for path in of["paths"]] for dataset, of in job["datasets"].items()}
    folder = job_path.parent
    tokenizer = train_tokenizer(_trained_on(shards, spec.data.held_out), spec.architecture.vocab_size)
    (folder / "tokenizer").mkdir(exist_ok=True)
    save_tokenizer(tokenizer, folder / "tokenizer")
    share = spec.data.held_out
    with tempfile.TemporaryDirectory(dir=folder) as spools:

        def tokens(number: int, paths: list[Path], held_out: bool) -> Tokens:
            texts = (text for text in _texts(paths) if is_held_out(text, share) == held_out)
            spooled = Path(spools) / f"{number}-{held_out}"
            return spool(encode_documents(tokenizer, texts), END_OF_TEXT_ID, spooled)

        corpus = Corpus(
            train={dataset: tokens(n, paths, False) for n, (dataset, paths) in enumerate(shards.items())},
            held_out={dataset: tokens(n, paths, True) for n, (dataset, paths) in enumerate(shards.items()) if share},
            domains={dataset: of["domain"] for dataset, of in job["datasets"].items()},
        )
        Feed(spec, corpus.sizes, corpus.domains)  # refuses what is too little
        if spec.training.evaluate_every:
            length = max(leg.training.sequence_length for leg in spec.course)
            held_out_rows(corpus, length, spec.training.evaluate_sequences)
        (folder / "tokens").mkdir(exist_ok=True)
        corpus.save(folder / "tokens")
    result = {"count": sum(corpus.sizes.values()), "by_dataset": corpus.sizes}
    write_atomic(folder / "prepared.json", json.dumps(result).encode())


def attempt(job_path: Path) -> int:
    """`main`, and the exit code."""
    try:
        main(job_path)
    except Invalid as problem:
        write_atomic(job_path.parent / "refused", problem.diagnostics().encode())
        return os.EX_DATAERR
    return 0


def _trained_on(shards: dict[str, list[Path]], held_out: float) -> Iterator[str]:
    for paths in shards.values():
        yield from (text for text in _texts(paths) if not is_held_out(text, held_out))


def _texts(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield from (row["text"] for _, row in text_rows(path, path.name))


if __name__ == "__main__":
    sys.exit(attempt(Path(sys.argv[1])))
