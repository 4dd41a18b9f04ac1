"""Whether this machine's clock is right: a SuperNode signs its calls with their time, and the SuperLink refuses another's."""

from __future__ import annotations

import datetime as dt

AHEAD, BEHIND = dt.timedelta(seconds=5), dt.timedelta(minutes=5)
"""How far off a signature may be (flwr 1.41)."""


def wrong(hub: str, here: dt.datetime) -> str:
    """What to say of a clock that showed `here` (UTC) when the hub's (RFC 3339) had just shown `hub`; empty where it will do.

    A hub of before it told its time says nothing.
    """
    if not hub:
        return ""
    off = here - dt.datetime.fromisoformat(hub)
    if -BEHIND < off < AHEAD:
        return ""
    how = "ahead of" if off > dt.timedelta() else "behind"
    seconds = dt.timedelta(seconds=round(abs(off).total_seconds()))
    return f"This machine's clock is {seconds} {how} the hub's: rounds go on without us until it is set right."
