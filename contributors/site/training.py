"""A round's local training: the site's private text, the model that came with the task, an adapter that leaves."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from contributors.site.datasets import Source
from learning.adaptation import AdaptationResult, adapt
from learning.adapters import AdapterShape, adapter_state, attach
from learning.export import load_model
from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from protos.documents.campaigns import Learned, RoundTask
from protos.formats.texts import text_rows
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Problem


class Unfit(Denied):
    """About the site's own data. Said here in full and to the hub not at all: names of files tell secrets."""


@dataclass(frozen=True)
class Trained:
    """What may leave: the adapter's tensors and these numbers. `examples` counts private documents."""

    adapter: dict[str, Tensor]
    examples: int
    result: AdaptationResult
    data: tuple[Learned, ...]


@dataclass(frozen=True)
class Packed:
    """Text as blocks of tokens [n, length]; `documents` and `tokens` count what is in them, tokens by dataset."""

    blocks: Blocks
    documents: int
    tokens: Mapping[str, int]

    def shares(self, trained: int) -> tuple[Learned, ...]:
        """Batches are drawn evenly from all packed tokens, so each dataset counts by its share of them."""
        total = sum(self.tokens.values())
        return tuple(
            Learned(dataset=dataset, tokens=trained * tokens // total) for dataset, tokens in self.tokens.items()
        )


class PrivateText:
    """The site's text, packed once per tokenizer and state of the files: rounds share it.

    `sources` looks which files there are, and raises where one of them may not be used.
    """

    def __init__(self, sources: Callable[[], Sequence[Source]]) -> None:
        self._sources = sources
        self._key: object = None
        self._packed: Packed | None = None

    def packed(self, tokenizer: PreTrainedTokenizerFast, tokenizer_digest: str, length: int) -> Packed:
        """Raises `Unfit`, never quoting the text."""
        try:
            found = self._sources()
            key = (tokenizer_digest, length, found)
            if self._packed is None or key != self._key:
                fresh = _pack(found, tokenizer, length)
                if self._sources() != found:
                    raise Invalid(
                        "The site's text changed while it was read.", "The next round takes it as it is then."
                    )
                self._key, self._packed = key, fresh
        except Problem as problem:
            raise Unfit(problem.what, problem.todo) from None
        return self._packed


def _pack(sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, length: int) -> Packed:
    owners: list[str] = []
    tokens: Counter[str] = Counter()

    def texts() -> Iterator[str]:
        for source in sources:
            for _, row in text_rows(source.path, source.path.name):
                owners.append(source.dataset)
                yield row["text"]

    def documents() -> Iterator[list[int]]:
        for number, ids in enumerate(encode_documents(tokenizer, texts())):
            tokens[owners[number]] += len(ids) + 1
            yield ids

    blocks = pack(documents(), length, END_OF_TEXT_ID)
    if not len(blocks):
        raise Invalid("The site's text does not fill one block of tokens.", "Give it more text.")
    return Packed(blocks, len(owners), tokens)


def train(task: RoundTask, files: Mapping[str, bytes], text: PrivateText) -> Trained:
    """Adapt the task's model to the private text. Raises `Invalid` or `Unfit`, never quoting the text."""
    _check_files(task, files)
    spec = task.spec
    with tempfile.TemporaryDirectory(prefix="coalition-round-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        model, tokenizer = load_model(Path(folder))
    tokenizer_digest = digest_bytes(files["tokenizer.json"])
    packed = text.packed(tokenizer, tokenizer_digest, spec.training.sequence_length)
    shape = AdapterShape(rank=spec.adapter.rank, alpha=spec.adapter.alpha, targets=spec.adapter.targets)
    adapted = attach(model, shape, task.seed).to("cuda" if torch.cuda.is_available() else "cpu")
    training = spec.training
    result = adapt(adapted, packed.blocks, training.steps, training.batch_size, training.learning_rate, task.seed)
    return Trained(adapter_state(adapted), packed.documents, result, packed.shares(result.tokens))


def _check_files(task: RoundTask, files: Mapping[str, bytes]) -> None:
    """That the files are those which the task names, byte for byte."""
    if set(files) != {entry.path for entry in task.files}:
        raise Invalid("The files beside the task are not those it names.")
    for entry in task.files:
        if digest_bytes(files[entry.path]) != entry.digest:
            raise Invalid(f"{entry.path} is not the file that the task names.")
