"""From per-item likelihoods and credits to a score and its standard error. Plain arithmetic: any party recomputes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def score(metric: str, items: Sequence[Item]) -> Score:
    """What a task's items amount to. Raises `Invalid` for an unknown metric and for items that do not fit it."""
    try:
        if metric == "bits_per_byte":
            value, error = bits_per_byte([i.log_likelihoods[0] for i in items], [i.lengths[0] for i in items])
            return Score(value, error, len(items))
        if metric in CREDITED:
            value, error = mean([_credit(item) for item in items])
            return Score(value, error, len(items))
        if metric in ("acc", "acc_norm"):
            choices = [item.log_likelihoods for item in items]
            answers = [range(len(item.log_likelihoods))[_position(item)] for item in items]
            lengths = [item.lengths for item in items]
            value, error = accuracy(choices, lengths, answers, normalised=metric == "acc_norm")
            return Score(value, error, len(items), guessing([len(values) for values in choices]))
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
    right = [
        _likeliest(values, counts if normalised else [1] * len(values)) == answer
        for values, counts, answer in zip(log_likelihoods, lengths, answers, strict=True)
    ]
    count = len(right)
    if not count:
        raise Invalid("There is no item to score.")
    share = sum(right) / count
    return share, math.sqrt(share * (1 - share) / (count - 1)) if count > 1 else 0.0


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


def _position(item: Item) -> int:
    """Of the right choice. Raises `ValueError` where there is none."""
    if item.answer is None or item.answer < 0:
        raise ValueError
    return item.answer


def _likeliest(values: Sequence[float], lengths: Sequence[int]) -> int:
    scores = [value / length for value, length in zip(values, lengths, strict=True)]
    return scores.index(max(scores))
