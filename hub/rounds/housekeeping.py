"""The SuperLink's own housekeeping, once a second and not at every request (flwr 1.41).

Before it looks at a task or a run, Flower ends all tasks whose process gave no sign of life for half a minute: two updates of its
database, behind SQLite's one writer, for each of the hundred requests of a round. A task may so be ended a second later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Any

from flwr.supercore.corestate.sql_corestate import SqlCoreState

KNOWN = "1.41."
EVERY = 1.0  # seconds


def keep_house_seldom() -> None:
    """Of every SuperLink in this process. Any other version of Flower is left as it is."""
    if version("flwr").startswith(KNOWN):
        SqlCoreState._cleanup_expired_task_tokens = seldom(SqlCoreState._cleanup_expired_task_tokens)


def seldom(work: Callable[[Any], None], every: float = EVERY) -> Callable[[Any], None]:
    """`work` on a thing, unless that was done less than `every` seconds ago."""
    done: dict[int, float] = {}

    @wraps(work)
    def maybe(thing: Any) -> None:
        now = time.monotonic()
        if now - done.get(id(thing), now - every) >= every:
            done[id(thing)] = now
            work(thing)

    return maybe
