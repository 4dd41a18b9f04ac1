"""How long a round waits for its sites, as pure functions over what is known of each: nobody can hold up the others.

A site that was killed comes back by itself; then it is given the round's task again. A site that stays away, or says
nothing much longer than the slowest of the others took, is left out, as long as the others' valid updates are enough without it:
as many as the campaign asks for, one for a plain mean. A rule that is to stand up to bad updates is given as many as that takes,
or who answers first would be the round. At the round's deadline nobody is waited for any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MAX_SENDINGS = 4
AWAY = 90.0  # seconds; a SuperNode that was killed counts as online for up to 60
SILENT_FACTOR = 5.0
SILENT_AT_LEAST = 600.0
SLOWEST = 64 << 10
"""Bytes a second of a slow link: while a message and its answer may be on their way over it, nobody is silent."""

Move = Literal["wait", "send", "leave out"]


@dataclass(frozen=True)
class Waiting:
    """A site whose update is missing, as seen now. Times in seconds.

    `activation` is when its SuperNode last came online ("" while it is away); `sent_to` the activation that has the task;
    `late` that the round's deadline has passed.
    """

    activation: str
    sent_to: str
    sendings: int
    away: float
    silent: float
    failed: bool = False
    late: bool = False


def move(site: Waiting, answers: Iterable[float], needed: int = 1) -> Move:
    """What to do about a site, given how long those took that have answered with a valid update, and how many it takes."""
    if site.late:
        return "leave out"
    took = list(answers)
    again = site.activation and (site.failed or site.activation != site.sent_to)
    if again and site.sendings < MAX_SENDINGS:
        return "send"
    if site.failed and site.sendings >= MAX_SENDINGS:
        return "leave out"
    if len(took) < needed:
        return "wait"
    if not site.activation:
        return "leave out" if site.away > AWAY else "wait"
    return "leave out" if site.silent > max(SILENT_AT_LEAST, SILENT_FACTOR * max(took)) else "wait"


def reason(site: Waiting) -> str:
    """Why a site is left out, for the record."""
    if site.late:
        return f"the round's deadline passed while its site {'had the task' if site.activation else 'was away'}"
    if site.sendings >= MAX_SENDINGS and site.failed:
        return f"its site failed {site.sendings} times"
    if not site.activation:
        return f"its site was away for {site.away:.0f} s"
    return f"its site gave no answer for {site.silent:.0f} s"
