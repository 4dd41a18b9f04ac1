"""Tasks whose answers can be verified, from the generators of the public package `reasoning-gym` (Stojanovski et al.,
arXiv:2505.24760), as rows for a site's own data.

The package writes questions and answers here, once; nothing of it runs where a model trains. Many of its generators judge answers
with code of their own, some of which evaluates text: only those are taken whose answer is right when it is the one text, which
the `exact` check of a reward policy decides as they do.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from protos.documents.checks import MAX_TARGET
from protos.formats.tasks import MAX_PROMPT
from trust.errors import Invalid, NotFound

Row = dict[str, str | float]


def generators() -> dict[str, bool]:
    """All names, with whether its answers are judged as one text. Raises `NotFound` without the package."""
    factory, dataset = _package()
    plain = dataset.ProceduralDataset.score_answer
    return {name: made.score_answer is plain for name, (made, _) in factory.DATASETS.items()}


def check_names(names: Sequence[str]) -> None:
    """That answers of all of these generators can be verified by a policy. Raises `NotFound`, `Invalid`."""
    known = generators()
    for name in names:
        if name not in known:
            raise NotFound(f"There is no generator {name[:60]!r}.", "See them with --list.")
        if not known[name]:
            raise Invalid(
                f"{name} judges answers with code of its own, which no reward policy can carry out.",
                "Take one of those that --list shows.",
            )


def task_rows(names: Sequence[str], count: int, seed: int) -> Iterator[Row]:
    """`count` rows from these generators in turn: `prompt`, `target`, `source`, and `number` where the target is one.

    The same seed gives the same rows. A task that is longer than a row may be is left out, so they may be fewer. Raises as
    `check_names`.
    """
    check_names(names)
    factory, _ = _package()
    each = -(-count // len(names))
    made = [factory.create_dataset(name, seed=seed, size=each) for name in names]
    for number in range(count):
        turn, place = divmod(number, len(names))
        entry = made[place][turn]
        question, answer = entry["question"], entry["answer"]
        if len(question) <= MAX_PROMPT and 0 < len(answer.strip()) <= MAX_TARGET:
            yield _row(names[place], question, answer)


def _row(name: str, question: str, answer: str) -> Row:
    row: Row = {"prompt": question, "target": answer, "source": f"reasoning-gym/{name}"}
    try:
        number = float(answer)
    except ValueError:
        return row
    return {**row, "number": number} if math.isfinite(number) else row


def _package() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of a package that it needs
            from reasoning_gym import dataset, factory
    except ModuleNotFoundError:
        raise NotFound("reasoning-gym is not installed here.", "Run `pip install 'coalition[tasks]'`.") from None
    return factory, dataset
