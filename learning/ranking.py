"""Models in an order that says what it does not know: an aggregate of all tasks with its interval, and ranks that are intervals.

Two models that cannot be told apart share ranks. Chance is drawn by everybody alike, so anyone who has the per-item logs
comes to the same numbers.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from learning.comparison import LEVEL, Floats, parts_of
from learning.scoring import LOWER_IS_BETTER, Item, worth
from trust.errors import Invalid

RESAMPLES = 2_000
UNANIMOUS = 6
"""So many items that all say the same tell two models apart: 2 / 2^6 is below 5 %."""
RANDOM_BITS = 8.0
"""Per byte, of a model for which all bytes are alike: what guessing is to text."""
_SEED = 20_260_102
_NOTHING = 1e-12
"""Differences of sums in another order."""

Bools: TypeAlias = NDArray[np.bool_]
_Kind: TypeAlias = tuple[str, float, bytes]


class TaskItem(Item, Protocol):
    """One line of a per-item log."""

    @property
    def task(self) -> str: ...


@dataclass(frozen=True)
class Answers:
    """What the items of a task are worth, and by how much each counts, (items,): a score is the ratio of the sums."""

    amounts: Floats
    sizes: Floats

    @classmethod
    def by_task(cls, metrics: Mapping[str, str], items: Iterable[TaskItem]) -> dict[str, Answers]:
        """Of each task that has a metric. Raises `Invalid` for items that do not fit it."""
        found: dict[str, list[TaskItem]] = {task: [] for task in metrics}
        for item in items:
            if item.task in found:
                found[item.task].append(item)
        return {task: cls.of(metrics[task], own) for task, own in found.items()}

    @classmethod
    def of(cls, metric: str, items: Iterable[Item]) -> Answers:
        """Raises `Invalid` for items that do not fit the metric."""
        pairs = np.array([worth(metric, item) for item in items], dtype=np.float64).reshape(-1, 2)
        return cls(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))


@dataclass(frozen=True)
class Answered:
    """A model's task, in a suite of `author`. `baseline` is what guessing gets."""

    author: str
    suite: str
    metric: str
    baseline: float | None
    answers: Answers


@dataclass(frozen=True)
class Task:
    """A task that all ranked models answered; `answers` in their order."""

    author: str
    suite: str
    metric: str
    baseline: float | None
    answers: Sequence[Answers]


@dataclass(frozen=True)
class Rank:
    """`value` is 0 for guessing and 1 for the best possible, `low` and `high` bound it at `LEVEL`.

    Between `first` and `last` lies the model's rank, 1 for the best.
    """

    value: float
    low: float
    high: float
    first: int
    last: int


def comparable(scored: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """(models, tasks) to rank by, of the tasks that each model has a score in: tasks that more than half of the models have, and
    the models that have all of those. So neither a new suite nor a model that fails in one ends the ranking of the others."""
    counts = Counter(task for tasks in scored.values() for task in set(tasks))
    tasks = sorted(task for task, count in counts.items() if 2 * count > len(scored))
    return [model for model, own in scored.items() if tasks and set(tasks) <= set(own)], tasks


def ranking(answered: Mapping[str, Mapping[str, Answered]]) -> tuple[dict[str, Rank], list[str]]:
    """(the rank of each model that has one, the tasks that count), from the tasks of each model, whose names order the draws.

    A model whose log is not of the items that most models answered has not answered the task.
    """
    models, chosen = comparable(_alike(answered))
    if not models:
        return {}, []
    tasks = []
    for name in chosen:
        found = [answered[model][name] for model in models]
        one = found[0]
        tasks.append(Task(one.author, one.suite, one.metric, one.baseline, [each.answers for each in found]))
    return dict(zip(models, ranks(tasks), strict=True)), chosen


def _alike(answered: Mapping[str, Mapping[str, Answered]]) -> dict[str, list[str]]:
    """Of each model those tasks whose items are the ones of most models."""
    kinds = {model: {name: _kind(found) for name, found in tasks.items()} for model, tasks in answered.items()}
    counts: dict[str, Counter[_Kind]] = defaultdict(Counter)
    for tasks in kinds.values():
        for name, kind in tasks.items():
            counts[name][kind] += 1
    usual = {name: min(found, key=lambda kind: (-found[kind], kind)) for name, found in counts.items()}
    return {
        model: [name for name, kind in tasks.items() if kind == usual[name] and 0 <= kind[1] < 1]
        for model, tasks in kinds.items()
    }


def _kind(found: Answered) -> _Kind:
    return found.metric, found.baseline or 0.0, hashlib.sha256(found.answers.sizes.tobytes()).digest()


def ranks(tasks: Sequence[Task]) -> list[Rank]:
    """Of each model, in the order of the tasks' answers.

    The aggregate is the mean of the suites' authors, each the mean of its suites, each the mean of its tasks, each on the scale
    of `Rank.value`. It is drawn again `RESAMPLES` times, over tasks and over each task's items, the same ones for all models.
    A model is above another where the difference is surer than all differences together demand: by the greatest studentised
    deviation of any pair (Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 91, 2024), so at `LEVEL` no pair at
    all is put in a wrong order.
    """
    if not tasks:
        return []
    chance = np.random.default_rng(_SEED)
    shares = _shares(tasks)
    drawn = chance.multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), RESAMPLES) * shares
    drawn /= drawn.sum(axis=1, keepdims=True)
    models = len(tasks[0].answers)
    values, again = np.zeros(models), np.zeros((RESAMPLES, models))
    for task, share, weights in zip(tasks, shares, drawn.T, strict=True):
        amounts, sizes = _table(task)
        values += share * _scaled(task, amounts.sum(axis=1) / sizes.sum())
        again += weights[:, None] * _scaled(task, _redrawn(amounts, sizes, chance))
    low, high = np.quantile(again, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    above = _above(values, again, sum(len(task.answers[0].sizes) for task in tasks))
    return [
        Rank(float(values[i]), float(low[i]), float(high[i]), 1 + int(above[:, i].sum()), models - int(above[i].sum()))
        for i in range(models)
    ]


def _shares(tasks: Sequence[Task]) -> Floats:
    """Of each task in the aggregate: authors count alike, whatever their number of suites, and so do those of tasks."""
    of_suite = Counter(task.suite for task in tasks)
    of_author = Counter(author for author, _ in {(task.author, task.suite) for task in tasks})
    return np.array([1 / (len(of_author) * of_author[task.author] * of_suite[task.suite]) for task in tasks])


def _table(task: Task) -> tuple[Floats, Floats]:
    """(amounts of shape (models, items), sizes). Raises `Invalid` where the models did not answer the same items."""
    sizes = task.answers[0].sizes
    if not len(sizes) or not all(np.array_equal(each.sizes, sizes) for each in task.answers):
        raise Invalid("The models were not scored on the same items.")
    return np.stack([each.amounts for each in task.answers]), sizes


def _scaled(task: Task, value: Floats) -> Floats:
    """0 for guessing, 1 for the best possible; of text nothing is worse than guessing, or one broken text would outweigh all."""
    if task.metric in LOWER_IS_BETTER:
        return np.maximum(0.0, 1 - value / RANDOM_BITS)
    guessed = task.baseline or 0.0
    return (value - guessed) / (1 - guessed)


def _redrawn(amounts: Floats, sizes: Floats, chance: np.random.Generator) -> Floats:
    """The scores, (resamples, models), of items drawn with replacement, the same ones for all models."""
    items = len(sizes)
    parts = []
    for rows in parts_of(RESAMPLES, items):
        picked = chance.integers(0, items, (rows, items)) + items * np.arange(rows)[:, None]
        counts = np.bincount(picked.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)
        parts.append((counts @ amounts.T) / (counts @ sizes)[:, None])
    return np.concatenate(parts)


def _above(values: Floats, again: Floats, items: int) -> Bools:
    """(models, models): whether the first is surely above the second."""
    moved = again - values
    spread = np.stack([(moved[:, [i]] - moved).std(axis=0) for i in range(len(values))])
    known = np.where(spread > _NOTHING, spread, np.inf)
    furthest = np.zeros(len(again))
    for i in range(len(values)):
        furthest = np.maximum(furthest, (np.abs(moved[:, [i]] - moved) / known[i]).max(axis=1))
    sure = np.quantile(furthest, LEVEL) * spread
    unanimous = (spread <= _NOTHING) & (items < UNANIMOUS)
    gained = values[:, None] - values
    return (gained > np.maximum(sure, _NOTHING)) & ~unanimous
