"""The life of campaigns as pure functions: which to work on, from which round, why one waits, when it is over.

A campaign is `waiting` until enough members consented and no older one is being worked on, then `running`, round by round,
until its last round is recorded, somebody stops it, or it fails too often in one and the same round. While it is `paused`
nothing is done for it, and others take their turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MAX_FAILURES = 5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

State = Literal["waiting", "running", "paused", "finished", "failed", "stopped"]
Outcome = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class Standing:
    """What the ledger says of a campaign. `stop`, `held` and `outcome` are empty while there is none; it fails that
    lacks members at the moment `join_by`."""

    id: str
    index: int
    rounds: int
    done: int
    minimum: int
    consents: int
    stop: str = ""
    held: str = ""
    join_by: str = ""
    outcome: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Failures:
    """How often work on `round` came to nothing, one attempt after the other, and why last."""

    round: int = 0
    count: int = 0
    reason: str = ""


def has_enough(campaign: Standing) -> bool:
    return campaign.consents >= campaign.minimum


def may_go_on(campaign: Standing) -> bool:
    """Whether rounds are to be led now: enough members, not held, and no end in sight."""
    return has_enough(campaign) and not campaign.held and not campaign.outcome and ending(campaign, Failures()) is None


def next_round(campaign: Standing) -> int:
    return campaign.done + 1


def next_work(campaigns: Iterable[Standing]) -> Standing | None:
    """The oldest campaign that can go on. Sites train for one at a time, so the hub leads one at a time."""
    return min(filter(may_go_on, campaigns), key=lambda each: each.index, default=None)


def ending(campaign: Standing, failures: Failures, now: str = "") -> tuple[Outcome, str] | None:
    """(outcome, reason) of a campaign that is over, at the moment `now`, and whose end is not recorded yet."""
    if campaign.outcome:
        return None
    if campaign.done >= campaign.rounds:
        return "finished", ""
    if campaign.stop:
        return "stopped", campaign.stop
    if not has_enough(campaign) and campaign.join_by and now > campaign.join_by:
        return "failed", f"{campaign.consents} of at least {campaign.minimum} members took part by {campaign.join_by}"
    if failures.round == next_round(campaign) and failures.count >= MAX_FAILURES:
        return "failed", f"round {failures.round} failed {failures.count} times, last: {failures.reason}"
    return None


def failed(before: Failures, number: int, reason: str) -> Failures:
    """One more attempt at round `number` came to nothing; a round that was reached anew starts its own count."""
    count = before.count + 1 if before.round == number else 1
    return Failures(number, count, reason)


def pause(failures: Failures) -> float:
    """Seconds before the next attempt."""
    return 0.0 if not failures.count else min(FIRST_PAUSE * 2.0 ** (failures.count - 1), LONGEST_PAUSE)


def state_of(campaign: Standing, leading: str) -> tuple[State, str]:
    """(state, reason) as users see it, while the hub leads the campaign `leading` ("" for none)."""
    if campaign.outcome in ("finished", "failed", "stopped"):
        return campaign.outcome, campaign.reason  # type: ignore[return-value]
    if campaign.held:
        return "paused", campaign.held
    if not has_enough(campaign):
        return "waiting", f"{campaign.consents} of at least {campaign.minimum} members have joined"
    if leading and leading != campaign.id:
        return "waiting", f"{leading} comes first"
    return "running", ""
