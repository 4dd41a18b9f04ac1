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
    amounts, choices = [], []
    for item in items:
        amounts.append(worth(metric, item))
        choices.append(len(item.log_likelihoods))
    found, sizes = [amount for amount, _ in amounts], [size for _, size in amounts]
    try:
        if metric == "bits_per_byte":
            return Score(*ratio(found, sizes), len(sizes))
        if metric in ("acc", "acc_norm"):
            return Score(*share([right == 1 for right in found]), len(sizes), guessing(choices))
        return Score(*mean(found), len(sizes))
    except ArithmeticError:
        raise _unfit(metric) from None


def worth(metric: str, item: Item) -> tuple[float, int]:
    """(what an item adds to a score, by how much it counts): a score is the ratio of the sums of both.

    Raises `Invalid` for an unknown metric and for an item that does not fit it.
    """
    try:
        if metric == "bits_per_byte":
            return -item.log_likelihoods[0] / math.log(2), item.lengths[0]
        if metric in CREDITED:
            return _credit(item), 1
        if metric in ("acc", "acc_norm"):
            return float(_right(item, normalised=metric == "acc_norm")), 1
    except (IndexError, ValueError, ArithmeticError):
        raise _unfit(metric) from None
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


def ratio(amounts: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """(sum of amounts over sum of sizes, its standard error): bits per byte, from each text's bits and UTF-8 bytes.

    The error is the delta method's (Cochran, Sampling Techniques, 3rd ed., section 2.11). Raises `Invalid` without sizes.
    """
    count, total = len(sizes), sum(sizes)
    if not count or not total:
        raise Invalid("There is no text to score.")
    value = sum(amounts) / total
    if count == 1:
        return value, 0.0
    residuals = sum((amount - value * size) ** 2 for amount, size in zip(amounts, sizes, strict=True))
    return value, math.sqrt(count / (count - 1) * residuals) / total


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


def _unfit(metric: str) -> Invalid:
    return Invalid(f"The items of the per-item log do not fit the metric {metric}.")


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
