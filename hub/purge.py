"""What nobody needs is deleted at an operator's word, or only looked for; a hub that serves does it by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from hub.foundation import Foundation
from hub.holding import held
from hub.server import register_projections, removers_of
from hub.settings import Settings
from hub.submissions.examination import Examination
from hub.submissions.purges import Purged
from hub.submissions.screening.screener import Screener
from hub.submissions.stale import Swept
from trust.digests import Digest
from trust.sentences import counted


@dataclass(frozen=True)
class Removed:
    """What went, or would go; `kept` where `hub.toml` says that what is withdrawn stays."""

    dry_run: bool
    kept: bool
    withdrawn: Purged
    uncommitted: Swept
    leftovers: list[Digest]

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "kept": self.kept}

    def lines(self) -> Iterator[str]:
        becomes = "would be" if self.dry_run else "is"
        if self.kept:
            yield 'hub.toml says purge_withdrawn = "keep": nothing that was withdrawn is purged.'
        for due in self.withdrawn.recorded:
            shared = f"; what stands needs {counted(due.needed, 'other')}" if due.needed else ""
            blobs = counted(len(due.blobs), "blob")
            yield f"{due.submission} {becomes} purged: {blobs}, {due.size} bytes{shared}."
        for submission in self.withdrawn.later:
            yield f"{submission} is withdrawn; its grace goes on, or the withdrawal is not final."
        for draft in self.uncommitted.dropped:
            yield f"{draft} was never committed and {becomes} dropped."
        gone = len(self.withdrawn.deleted) + len(self.uncommitted.deleted) + len(self.leftovers)
        yield f"Blobs that {'would be' if self.dry_run else 'are'} deleted: {gone}."
        if waiting := len(self.withdrawn.waiting):
            yield f"Purged blobs that wait, for an open submission or until they are an hour old: {waiting}."


def purge(settings: Settings, *, dry_run: bool = False, no_grace: bool = False) -> Removed:
    """Do what the loops of a hub do, once. Raises `Conflict` when the hub is running, unless it is a `dry_run`."""
    if no_grace:
        settings = settings.model_copy(update={"purge_grace_days": 0.0})
    kept = settings.purge_grace is None
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(held(settings.directory))
        base = Foundation.open(settings, to_look=dry_run)
        stack.callback(base.blobs.close)
        stack.callback(base.database.close)
        screener = Screener(settings.screening_dir)
        stack.callback(screener.stop)
        examination = Examination(base.database, base.blobs, screener, settings.screening)
        purger, sweeper, leftovers = removers_of(base, examination)
        if dry_run:
            return Removed(dry_run, kept, purger.plan(), sweeper.plan(), leftovers.plan())
        register_projections(base.journal)
        base.journal.start()
        stack.callback(base.journal.stop)
        return Removed(dry_run, kept, purger.look(), sweeper.look(), leftovers.look())
