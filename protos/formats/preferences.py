"""A row that holds a preference: a `prompt` of messages, and the answers `chosen` and `rejected`, as trl's datasets have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protos.formats.conversations import Message, messages_in
from trust.errors import Invalid

FIELD = "chosen"
LARGEST_SCORE = 1_000_000


@dataclass(frozen=True)
class Preference:
    """`better` is how much higher the chosen answer was scored, where the row has both scores."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    better: float | None = None


def preference_of(row: Mapping[str, Any], place: str) -> Preference:
    """Raises `Invalid`, naming the place and never quoting."""
    prompt = messages_in(row.get("prompt"), "prompt", place)
    chosen, rejected = (_answer(row.get(name), name, place) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise Invalid(f"{place}: both answers are the same.", "Leave the row out.")
    return Preference(prompt, chosen, rejected, _better(row, place))


def text_of_preference(row: Mapping[str, Any], place: str) -> str:
    """What was said with the chosen answer: the row's text for all who ask for texts. Raises as `preference_of`."""
    found = preference_of(row, place)
    return "\n\n".join([*(content for _, content in found.prompt), found.chosen])


def _answer(value: Any, name: str, place: str) -> str:
    """A text, or one message of the assistant."""
    messages = messages_in([{"role": "assistant", "content": value}] if isinstance(value, str) else value, name, place)
    if len(messages) != 1 or messages[0][0] != "assistant":
        raise Invalid(f"{place}: `{name}` is not one answer of the assistant.")
    return messages[0][1]


def _better(row: Mapping[str, Any], place: str) -> float | None:
    scores = [row.get(name) for name in ("score_chosen", "score_rejected")]
    if scores == [None, None]:
        return None
    numbers = [score for score in scores if isinstance(score, int | float) and not isinstance(score, bool)]
    if any(abs(number) > LARGEST_SCORE for number in numbers):
        raise Invalid(f"{place}: a score is beyond {LARGEST_SCORE:,}.")
    if len(numbers) != 2 or not 0 <= numbers[0] - numbers[1] < math.inf:
        raise Invalid(
            f"{place}: `score_chosen` and `score_rejected` are not two numbers, the first not below the second."
        )
    return float(numbers[0] - numbers[1])
