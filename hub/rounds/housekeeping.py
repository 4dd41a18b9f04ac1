"""How the SuperLink keeps its SQLite database, where Flower has no setting for it (flwr 1.41; another version is left as it is).

Before it looks at a task or a run, Flower ends all tasks whose process gave no sign of life for half a minute: two updates for
each request of a round, behind SQLite's one writer. Once a second will do: a task is ended so much later at the most.

Models and updates lie beside the database as they pass through (`objects`). What lies in it takes less processor in pages of
32 KiB than in those of 4, and less time where the log is copied into the file and made durable every 64 MiB, not every 4. A
database that is there keeps its pages. What is deleted need not be overwritten, as Debian's SQLite does.

And it gives up on a lock after five seconds. Four updates of 20 MB that came at once on a busy machine held it for longer, and
the round was lost: here it waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Any

from flwr.supercore import sql_mixin
from flwr.supercore.corestate import sql_corestate
from flwr.supercore.corestate.sql_corestate import SqlCoreState
from flwr.supercore.object_store import object_store_factory

from hub.rounds.objects import Objects

KNOWN = "1.41."
EVERY = 1.0  # seconds
PAGE = 32 << 10
LOG = 64 << 20  # bytes
FIRST = (("page_size", str(PAGE)),)  # before there is a page
LOCKED_SECONDS = 25
"""For which a call waits for the database while others write to it. Who calls hangs up after 30 s: what it asked for must not
be marked as delivered behind its back."""
CACHE = 8 << 10
"""KiB of each connection: more than a part has. Models that pass through would fill the 64 MB that Flower gives each."""
LAST = (
    ("wal_autocheckpoint", str(LOG // PAGE)),
    ("busy_timeout", f"{LOCKED_SECONDS}000"),
    ("cache_size", f"-{CACHE}"),
    ("secure_delete", "0"),
)
STALLED = 600
"""Seconds without a whole part of a message after which it is dropped; Flower's are 180, which two parts at a time of 4 MiB take
on a link of 47 KB a second."""


def keep_house() -> None:
    """As said above, for every SuperLink that this process starts from now on."""
    if version("flwr").startswith(KNOWN):
        SqlCoreState._cleanup_expired_task_tokens = seldom(SqlCoreState._cleanup_expired_task_tokens)
        object_store_factory.SqlObjectStore = Objects
        sql_mixin.SQLITE_PRAGMAS = (*FIRST, *sql_mixin.SQLITE_PRAGMAS, *LAST)
        sql_corestate.OBJECT_PUSH_SESSION_TTL_SECONDS = STALLED


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
