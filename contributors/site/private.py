"""A site's private text as what its rounds train on: blocks of text, rows of conversations, pairs of answers, or tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerFast

from contributors.site.datasets import Source
from learning.objectives.chats import Turn, answered, conversation, prompt
from learning.objectives.pairs import Pair, cut
from learning.objectives.rows import Rows, Sample, pack_apart, shortened
from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from protos.documents.methods import Objective
from protos.documents.rewards import RewardPolicy, check_reward_row
from protos.documents.rounds import Learned
from protos.formats import conversations, preferences, tasks
from protos.formats.texts import text_rows
from trust.errors import Denied, Invalid, Problem


@dataclass(frozen=True)
class Task:
    """A prompt's tokens, and the row that it stands in: what reward policies ask for."""

    prompt: tuple[int, ...]
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Tasks:
    """At least one."""

    each: tuple[Task, ...]


Texts = Blocks | Rows | tuple[Pair, ...]
Content = Texts | Tasks


class Unfit(Denied):
    """About the site's own data. Said here in full and to the hub not at all: names of files tell secrets."""


@dataclass(frozen=True)
class Packed:
    """Text as blocks of tokens [n, length], conversations as rows of them, pairs of answers, or tasks; `documents` and `tokens`
    count what is in them, tokens by dataset."""

    content: Content
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
        self,
        objective: Objective,
        tokenizer: PreTrainedTokenizerFast,
        tokenizer_digest: str,
        length: int,
        policies: tuple[RewardPolicy, ...] = (),
    ) -> Packed:
        """`length` is that of a row in tokens; of a task, of its prompt, to which `policies` are to judge answers.

        Raises `Unfit`, never quoting the text.
        """
        try:
            found = self._sources()
            key = (objective, tokenizer_digest, length, policies, found)
            if self._packed is None or key != self._key:
                pack_them = partial(_tasks, policies=policies) if objective == "grpo" else _PACKED[objective]
                fresh = pack_them(found, tokenizer, length)
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
    """Of the rows that hold one; the others are for other campaigns. Each stands apart, cut at the `length` of a row; one of
    which nothing is left to learn then is left out, and counts for no dataset."""
    samples: list[Sample] = []
    tokens: Counter[str] = Counter()
    for source in sources:
        for place, row in text_rows(source.path, source.path.name):
            if conversations.FIELD in row:
                turns = [Turn(role, said) for role, said in conversations.messages_of(row, place)]
                sample = shortened(conversation(tokenizer, turns), length)
                if sample is not None:
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


def _tasks(
    sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, length: int, policies: Sequence[RewardPolicy]
) -> Packed:
    """Of the rows that hold one which every policy can judge; the others are for other campaigns. A prompt that is longer than
    `length` tokens is left out."""
    found: list[Task] = []
    tokens: Counter[str] = Counter()
    why = "it holds none"
    for source in sources:
        for place, row in text_rows(source.path, source.path.name):
            if tasks.is_task(row):
                ids = prompt(tokenizer, [Turn("user", tasks.prompt_of(row, place))])
                lacking = _lacking(row, policies) or (len(ids) > length and "its prompt is too long")
                if lacking:
                    why = f"{place}: {lacking}"
                    continue
                found.append(Task(ids, row))
                tokens[source.dataset] += len(ids)
    if not found:
        raise Invalid(
            f"The site's text holds no task with a prompt within {length} tokens that the campaign's policies can judge ({why}).",
            f"Give it JSON Lines with `{tasks.FIELD}` and what the policies' rules ask for.",
        )
    return Packed(Tasks(tuple(found)), len(found), tokens)


def _lacking(row: Mapping[str, Any], policies: Sequence[RewardPolicy]) -> str:
    """What a row lacks for the first of the policies that cannot judge its answers; empty where all can."""
    try:
        for policy in policies:
            check_reward_row(policy, row)
    except Invalid as problem:
        return problem.what.rstrip(".")
    return ""


_PACKED: dict[Objective, Callable[[Sequence[Source], PreTrainedTokenizerFast, int], Packed]] = {
    "continued-training": _texts,
    "sft": _conversations,
    "dpo": _preferences,
}
