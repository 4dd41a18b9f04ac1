"""Everything accepted screened again, as after a new suite: its findings are renewed, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, as_completed

from hub.server import at_rest
from hub.settings import Settings
from hub.submissions.examination import Examination
from hub.submissions.intake import Intake
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.screener import Screener
from trust.errors import Problem

Advance = Callable[[int, int], None]
"""Called with the datasets that are done, and how many there are."""


def rescreen(settings: Settings, advance: Advance = lambda done, total: None) -> dict[str, list[Finding]]:
    """Findings by dataset, of those whose text the hub holds. The hub must not be running: raises `Conflict` when it is."""
    with at_rest(settings) as base:
        screener = Screener(settings.screening_dir)
        try:
            examination = Examination(base.database, base.blobs, screener, settings.screening)
            going = Intake(base.database, base.blobs, base.journal, examination).screen_again()
            for done, _ in enumerate(as_completed(going.values()), start=1):
                advance(done, len(going))
            return {dataset: _findings(future) for dataset, future in going.items()}
        finally:
            screener.stop()


def _findings(future: Future[list[Finding]]) -> list[Finding]:
    try:
        return future.result()
    except Problem as problem:
        return [Finding(rule="schema", severity="reject", message=problem.diagnostics())]
