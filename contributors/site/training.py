"""A round's local training: the site's private text, the model that came with the task, an adapter that leaves."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from contributors.site.datasets import Source
from learning.adaptation import AdaptationResult, adapt, adapt_to_answers, adapt_to_preferences
from learning.adapters import AdapterShape, adapter_state, attach
from learning.compression import compress
from learning.export import load_model
from learning.objectives.chats import Turn, answered, conversation
from learning.objectives.pairs import Pair, cut
from learning.objectives.rows import Rows, Sample, pack_apart
from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from learning.updates import save_tensors
from protos.documents.campaigns import CampaignSpec, Learned, Objective, RoundTask, Transfer
from protos.formats import conversations, preferences
from protos.formats.texts import text_rows
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Problem


class Unfit(Denied):
    """About the site's own data. Said here in full and to the hub not at all: names of files tell secrets."""


@dataclass(frozen=True)
class Trained:
    """What may leave: the adapter's tensors and these numbers. `examples` counts private documents; `start` is the adapter that
    the round began with."""

    adapter: dict[str, Tensor]
    start: dict[str, Tensor]
    examples: int
    result: AdaptationResult
    data: tuple[Learned, ...]


@dataclass(frozen=True)
class Packed:
    """Text as blocks of tokens [n, length], conversations as rows of them, or pairs of answers; `documents` and `tokens` count
    what is in them, tokens by dataset."""

    content: Blocks | Rows | tuple[Pair, ...]
    documents: int
    tokens: Mapping[str, int]

    def shares(self, trained: int) -> tuple[Learned, ...]:
        """Batches are drawn evenly from all packed tokens, so each dataset counts by its share of them."""
        total = sum(self.tokens.values())
        return tuple(
            Learned(dataset=dataset, tokens=trained * tokens // total) for dataset, tokens in self.tokens.items()
        )


class PrivateText:
    """The site's text, packed once per objective, tokenizer and state of the files: rounds share it.

    `sources` looks which files there are, and raises where one of them may not be used.
    """

    def __init__(self, sources: Callable[[], Sequence[Source]]) -> None:
        self._sources = sources
        self._key: object = None
        self._packed: Packed | None = None

    def packed(
        self, objective: Objective, tokenizer: PreTrainedTokenizerFast, tokenizer_digest: str, length: int
    ) -> Packed:
        """Raises `Unfit`, never quoting the text."""
        try:
            found = self._sources()
            key = (objective, tokenizer_digest, length, found)
            if self._packed is None or key != self._key:
                fresh = _PACKED[objective](found, tokenizer, length)
                if self._sources() != found:
                    raise Invalid(
                        "The site's text changed while it was read.", "The next round takes it as it is then."
                    )
                self._key, self._packed = key, fresh
        except Problem as problem:
            raise Unfit(problem.what, problem.todo) from None
        return self._packed


def _texts(sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, length: int) -> Packed:
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


def _conversations(sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, length: int) -> Packed:
    """Of the rows that hold one; the others are for other campaigns. Each stands apart, cut at the `length` of a row."""
    samples: list[Sample] = []
    tokens: Counter[str] = Counter()
    for source in sources:
        for place, row in text_rows(source.path, source.path.name):
            if conversations.FIELD in row:
                sample = conversation(
                    tokenizer, [Turn(role, said) for role, said in conversations.messages_of(row, place)]
                )
                samples.append(sample)
                tokens[source.dataset] += len(sample.ids)
    rows = pack_apart(samples, length, END_OF_TEXT_ID)
    if not len(rows):
        raise Invalid(
            f"The site's text holds no conversation in which the assistant speaks within {length} tokens.",
            f"Give it JSON Lines with `{conversations.FIELD}`.",
        )
    return Packed(rows, len(samples), tokens)


def _preferences(sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, length: int) -> Packed:
    """Of the rows that hold one, with each answer's row cut at `length`; a pair of which an answer lies beyond is left out."""
    pairs: list[Pair] = []
    tokens: Counter[str] = Counter()
    for source in sources:
        for place, row in text_rows(source.path, source.path.name):
            if preferences.FIELD in row:
                given = preferences.preference_of(row, place)
                turns = [Turn(role, said) for role, said in given.prompt]
                chosen, rejected = (answered(tokenizer, turns, each) for each in (given.chosen, given.rejected))
                pair = cut(Pair(chosen, rejected, given.better or 0.0), length)
                if pair is not None:
                    pairs.append(pair)
                    tokens[source.dataset] += pair.tokens
    if not pairs:
        raise Invalid(
            f"The site's text holds no preference of which both answers begin within {length} tokens.",
            "Give it JSON Lines with `prompt`, `chosen` and `rejected`.",
        )
    return Packed(tuple(pairs), len(pairs), tokens)


_PACKED: dict[Objective, Callable[[Sequence[Source], PreTrainedTokenizerFast, int], Packed]] = {
    "continued-training": _texts,
    "sft": _conversations,
    "dpo": _preferences,
}


def train(task: RoundTask, files: Mapping[str, bytes], text: PrivateText) -> Trained:
    """Adapt the task's model to the private text. Raises `Invalid` or `Unfit`, never quoting the text."""
    _check_files(task, files)
    spec = task.spec
    with tempfile.TemporaryDirectory(prefix="coalition-round-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        model, tokenizer = load_model(Path(folder))
    tokenizer_digest = digest_bytes(files["tokenizer.json"])
    packed = text.packed(spec.objective, tokenizer, tokenizer_digest, spec.training.sequence_length)
    shape = AdapterShape(rank=spec.adapter.rank, alpha=spec.adapter.alpha, targets=spec.adapter.targets)
    adapted = attach(model, shape, task.seed).to("cuda" if torch.cuda.is_available() else "cpu")
    start = adapter_state(adapted)
    result = _adapt(adapted, packed.content, spec, task.seed)
    return Trained(adapter_state(adapted), start, packed.documents, result, packed.shares(result.tokens))


def _adapt(
    model: PeftModel, content: Blocks | Rows | tuple[Pair, ...], spec: CampaignSpec, seed: int
) -> AdaptationResult:
    training = spec.training
    given = (training.steps, training.batch_size, training.learning_rate, seed)
    held = training.proximal
    if isinstance(content, Rows):
        return adapt_to_answers(model, content, *given, proximal=held)
    if isinstance(content, tuple):
        how = spec.preferences
        return adapt_to_preferences(
            model, content, END_OF_TEXT_ID, *given, proximal=held, beta=how.beta, offset=how.offset
        )
    return adapt(model, content, *given, proximal=held)


def update_of(trained: Trained, transfer: Transfer) -> bytes:
    """What travels, as the campaign says. Every round begins with an adapter of its own, so what compression loses in one has no
    place in the next."""
    if transfer.how == "fp32":
        return save_tensors(trained.adapter)
    change = {name: tensor - trained.start[name] for name, tensor in trained.adapter.items()}
    return compress(change, transfer.how, keep=transfer.keep).data


def _check_files(task: RoundTask, files: Mapping[str, bytes]) -> None:
    """That the files are those which the task names, byte for byte."""
    if set(files) != {entry.path for entry in task.files}:
        raise Invalid("The files beside the task are not those it names.")
    for entry in task.files:
        if digest_bytes(files[entry.path]) != entry.digest:
            raise Invalid(f"{entry.path} is not the file that the task names.")
