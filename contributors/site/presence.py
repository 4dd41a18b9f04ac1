"""Whether the site takes part at this moment: a member may sit out rounds, and keep its machines for itself at some hours."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path

from protos.documents.campaigns import SitePolicy
from trust.errors import Denied
from trust.files import write_atomic


def sit_out(home: Path, out: bool) -> None:
    """From the next task on; kept until it is said otherwise."""
    if out:
        _mark(home).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(_mark(home), b"")
    else:
        _mark(home).unlink(missing_ok=True)


def check_presence(home: Path, policy: SitePolicy, moment: datetime | None = None) -> None:
    """Raises `Denied` while the site sits out, or outside of the policy's hours; `moment` is the present unless given."""
    if _mark(home).exists():
        raise Denied("This member sits the round out.", "Take part again with: coalition site take-part")
    if policy.hours and not _within(policy.hours, (moment or datetime.now(UTC)).time()):
        raise Denied(f"This site trains at {policy.hours} UTC alone.", "Change `hours` in site.toml.")


def _within(hours: str, now: time) -> bool:
    """Whether a time lies between two, of which the second may be on the next day."""
    first, last = (time.fromisoformat(each) for each in hours.split("-"))
    return first <= now < last if first < last else now >= first or now < last


def _mark(home: Path) -> Path:
    return home / "site" / "sits-out"
