"""From per-item likelihoods and credits to a score and its standard error. Plain arithmetic: any party recomputes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trust.errors import Invalid

LOWER_IS_BETTER = frozenset({"bits_per_byte"})
CREDITED = frozenset({"greedy_match", "exact_match", "f1", "numeric_match", "regex_match", "schema_match"})
"""Metrics that are the mean of what each item's answer is worth."""


class Item(Protocol):
    """One item of a task: log likelihoods in nats, what to divide them by, and the position of the right one if any; or what
    the model's answer is worth."""

    @property
    def log_likelihoods(self) -> Sequence[float]: ...
    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def answer(self) -> int | None: ...
    @property
    def credit(self) -> float | None: ...


@dataclass(frozen=True)
class Score:
    """`baseline` is what guessing gets, where there is such a thing."""

    value: float
    standard_error: float
    items: int
    baseline: float | None = None


def score(metric: str, items: Iterable[Item]) -> Score:
    """What a task's items amount to. Each is looked at once, so that they need not all be in memory.

    Raises `Invalid` for an unknown metric and for items that do not fit it.
    """
    try:
        if metric == "bits_per_byte":
            pairs = [(item.log_likelihoods[0], item.lengths[0]) for item in items]
            value, error = bits_per_byte([bits for bits, _ in pairs], [size for _, size in pairs])
            return Score(value, error, len(pairs))
        if metric in CREDITED:
            worth = [_credit(item) for item in items]
            value, error = mean(worth)
            return Score(value, error, len(worth))
        if metric in ("acc", "acc_norm"):
            chosen = [(_right(item, normalised=metric == "acc_norm"), len(item.log_likelihoods)) for item in items]
            value, error = share([right for right, _ in chosen])
            return Score(value, error, len(chosen), guessing([choices for _, choices in chosen]))
    except (IndexError, ValueError, ArithmeticError):
        raise Invalid(f"The items of the per-item log do not fit the metric {metric}.") from None
    raise Invalid(f"There is no metric {metric[:40]!r}.")


def accuracy(
    log_likelihoods: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    answers: Sequence[int],
    *,
    normalised: bool,
) -> tuple[float, float]:
    """(share of items whose likeliest choice is the answer, standard error of that share).

    `normalised` divides each choice's log likelihood by its length in characters, as lm-eval's `acc_norm` does; the first
    of equals wins. The error is the sample's: sqrt(p (1 - p) / (n - 1)). Raises `Invalid` without items.
    """
    return share(
        [
            _likeliest(values, counts if normalised else [1] * len(values)) == answer
            for values, counts, answer in zip(log_likelihoods, lengths, answers, strict=True)
        ]
    )


def share(right: Sequence[bool]) -> tuple[float, float]:
    """(share of items that are right, its standard error). Raises `Invalid` without items."""
    count = len(right)
    if not count:
        raise Invalid("There is no item to score.")
    part = sum(right) / count
    return part, math.sqrt(part * (1 - part) / (count - 1)) if count > 1 else 0.0


def bits_per_byte(log_likelihoods: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """(bits per byte over all texts, its standard error), from log likelihoods in nats and sizes in UTF-8 bytes.

    A ratio of sums, so the error is the delta method's (Cochran, Sampling Techniques, 3rd ed., section 2.11).
    Raises `Invalid` without texts.
    """
    count, total = len(sizes), sum(sizes)
    if not count or not total:
        raise Invalid("There is no text to score.")
    bits = [-value / math.log(2) for value in log_likelihoods]
    ratio = sum(bits) / total
    if count == 1:
        return ratio, 0.0
    residuals = sum((value - ratio * size) ** 2 for value, size in zip(bits, sizes, strict=True))
    return ratio, math.sqrt(count / (count - 1) * residuals) / total


def mean(values: Sequence[float]) -> tuple[float, float]:
    """(mean, its standard error from the sample's variance). Raises `Invalid` without items."""
    count = len(values)
    if not count:
        raise Invalid("There is no item to score.")
    value = math.fsum(values) / count
    if count == 1:
        return value, 0.0
    variance = math.fsum((each - value) ** 2 for each in values) / (count - 1)
    return value, math.sqrt(variance / count)


def guessing(choices: Sequence[int]) -> float:
    """The accuracy of guessing: the mean of one over the number of choices."""
    return sum(1 / count for count in choices) / len(choices)


def _credit(item: Item) -> float:
    """Raises `ValueError` where there is none."""
    if item.credit is None or not 0 <= item.credit <= 1:
        raise ValueError
    return item.credit


def _right(item: Item, *, normalised: bool) -> bool:
    """Raises `ValueError`, `IndexError` where the item has no right choice."""
    values = item.log_likelihoods
    return _likeliest(values, item.lengths if normalised else [1] * len(values)) == range(len(values))[_position(item)]


def _position(item: Item) -> int:
    """Of the right choice. Raises `ValueError` where there is none."""
    if item.answer is None or item.answer < 0:
        raise ValueError
    return item.answer


def _likeliest(values: Sequence[float], lengths: Sequence[int]) -> int:
    scores = [value / length for value, length in zip(values, lengths, strict=True)]
    return scores.index(max(scores))
