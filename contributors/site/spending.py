"""What our answers cost us, in all campaigns together: a record of our own, which no answer leaves ahead of.

The site notes what the ledger says of recorded rounds, its training process what it is about to give out. So the record counts
at least what the ledger does, and more where an answer never came to a round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path

from contributors.site.budget import Recorded, Spending, after, at_least, check_affordable
from contributors.site.locking import alone
from protos.documents.campaigns import SitePolicy
from protos.documents.rounds import RoundTask
from trust.errors import Corrupt, Invalid
from trust.files import write_private


def read_spending(home: Path) -> Spending:
    """Raises `Corrupt` for a file that was changed by hand."""
    path = _file(home)
    try:
        return Spending.read(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Spending()
    except (Invalid, ValueError):
        raise Corrupt(
            "The record of what this site spent cannot be read.",
            f"Restore {path}, or remove it: then the rounds in the ledger count.",
        ) from None


def check_budget(home: Path, task: RoundTask, policy: SitePolicy) -> None:
    """Whether an answer could be given, before work is put into it. Raises `Denied`, `Corrupt`."""
    _charged(read_spending(home), task, policy)


def charge(home: Path, task: RoundTask, policy: SitePolicy) -> None:
    """Note an answer durably: only then may it leave. Raises `Denied` without noting it, `Corrupt`."""
    if task.spec.privacy is not None:
        _change(home, lambda known: _charged(known, task, policy))


def note_recorded(home: Path, recorded: Iterable[Recorded]) -> None:
    """Count no less than the ledger does. Raises `Corrupt`."""
    _change(home, lambda known: reduce(at_least, recorded, known))


def _charged(known: Spending, task: RoundTask, policy: SitePolicy) -> Spending:
    privacy = task.spec.privacy
    if privacy is None:
        return known
    spending = after(known, task, privacy)
    check_affordable(spending, task, privacy, policy.privacy)
    return spending


def _change(home: Path, change: Callable[[Spending], Spending]) -> None:
    """Replace the record by what `change` makes of it, one process at a time; it is on the disk when this returns."""
    with alone(home, "spending"):
        before = read_spending(home)
        after_it = change(before)
        if after_it != before:
            write_private(_file(home), after_it.model_dump_json().encode())


def _file(home: Path) -> Path:
    return home / "site" / "spending.json"
