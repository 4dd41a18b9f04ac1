"""Conversations as tokens, with the assistant's turns as what counts.

ChatML where the tokenizer has its two marks as special tokens, as the tokenizers of most public chat models do: `<|im_start|>`,
role, line feed, text, `<|im_end|>`, line feed. Else role, line feed, text and the end-of-text token. A model's own template is
not run: it would be a program from elsewhere. Text is encoded without special tokens, so no turn can forge another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from learning.objectives.rows import Sample
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from trust.errors import Invalid

ROLES = ("system", "user", "assistant")
START, END = "<|im_start|>", "<|im_end|>"


_CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
_PLAIN = """{% for message in messages %}{{ message['role'] + '\\n' + message['content'] + eos_token }}{% endfor %}\
{% if add_generation_prompt %}{{ 'assistant\\n' }}{% endif %}"""


@dataclass(frozen=True)
class Turn:
    """`role` is one of `ROLES`."""

    role: str
    text: str


@dataclass(frozen=True)
class Marks:
    """The tokens around a turn: `start` before its role, `end` after its text (the model says it too), then `gap`."""

    start: tuple[int, ...]
    end: int
    gap: tuple[int, ...]


def marks_of(tokenizer: PreTrainedTokenizerFast) -> Marks:
    special = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    if START in special and END in special:
        return Marks((special[START],), special[END], tuple(_encoded(tokenizer, ["\n"])[0]))
    return Marks((), END_OF_TEXT_ID, ())


def template_of(tokenizer: PreTrainedTokenizerFast) -> str:
    """The chat template, for those who use the model, that writes conversations as they are written here."""
    return _CHATML if marks_of(tokenizer).start else _PLAIN


def conversation(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn]) -> Sample:
    """A conversation in which every text of the assistant, and the mark that ends it, counts.

    Raises `Invalid` for an unknown role and where the assistant says nothing.
    """
    _check(turns)
    if not any(turn.role == "assistant" for turn in turns):
        raise Invalid("The assistant says nothing in a conversation.", "Give it at least one turn.", field="role")
    pairs = [pair for part in _turns(tokenizer, turns) for pair in part]
    return Sample(tuple(token for token, _ in pairs), tuple(counted for _, counted in pairs))


def prompt(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn]) -> tuple[int, ...]:
    """The tokens after which the model is to speak as the assistant. Raises `Invalid` for an unknown role."""
    _check(turns)
    marks = marks_of(tokenizer)
    before = [token for part in _turns(tokenizer, turns) for token, _ in part]
    return (*before, *marks.start, *_encoded(tokenizer, ["assistant\n"])[0])


def answered(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], answer: str) -> Sample:
    """A prompt of these turns and the assistant's answer to it, of which the answer and its end count and nothing before."""
    said = (*_encoded(tokenizer, [answer])[0], marks_of(tokenizer).end)
    return completed(prompt(tokenizer, turns), said)


def completed(before: Sequence[int], completion: Sequence[int]) -> Sample:
    """A prompt and what was said after it, which counts."""
    return Sample((*before, *completion), (False,) * len(before) + (True,) * len(completion))


def _turns(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn]) -> Iterator[list[tuple[int, bool]]]:
    marks = marks_of(tokenizer)
    pieces = _encoded(tokenizer, [piece for turn in turns for piece in (f"{turn.role}\n", turn.text)])
    for turn, role, text in zip(turns, pieces[::2], pieces[1::2], strict=True):
        ours = turn.role == "assistant"
        before, said = (*marks.start, *role), (*text, marks.end)
        yield [(token, False) for token in before] + [(token, ours) for token in said] + [(t, False) for t in marks.gap]


def _encoded(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    return list(encode_documents(tokenizer, texts))


def _check(turns: Sequence[Turn]) -> None:
    for turn in turns:
        if turn.role not in ROLES:
            raise Invalid(f"There is no role {turn.role!r}.", "Use system, user or assistant.", field="role")
