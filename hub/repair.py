"""`coalition-hub scrub`: everything that a hub keeps is read and checked at once, and taken back from a mirror where asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.database import Database
from hub.fuse import Fuse
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.object_blobs import open_blobs
from hub.scrub.findings import Report
from hub.scrub.restoring import LogRestoring, Restored, restore_blob
from hub.scrub.stages import FACTS, LEDGER, Scrub
from hub.server import projecting
from hub.settings import Settings
from trust.errors import Problem
from trust.keys import ArtifactKey, LogKey

Advance = Callable[[str, int], None]
"""Called with the stage and the bytes that were just read."""

REBUILD = "no mirror has it: make the database anew with `coalition-hub rebuild`"


@dataclass
class Findings:
    """What is damaged, and which stages came to no end, with the reason."""

    report: Report = field(default_factory=Report)
    cut_short: dict[str, str] = field(default_factory=dict)
    mended: set[str] = field(default_factory=set)

    @property
    def clean(self) -> bool:
        return not self.report.found and not self.cut_short

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.report.document(), "cut_short": self.cut_short}

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield from (damage.sentence() for damage in self.report.damage())
        yield from (f"Not checked to the end, {stage}: {why}" for stage, why in self.cut_short.items())
        mebibytes = self.report.size / (1 << 20)
        yield f"{mebibytes:,.1f} MiB were read; {len(self.report.found) or 'nothing'} damaged."


def scrub(settings: Settings, advance: Advance) -> Findings:
    """Read everything and change nothing; the hub may serve meanwhile. Raises `NotFound` where there is no ledger."""
    settings.must_have_served()
    with _opened(settings) as opened:
        return _walk(opened, opened.stages, advance)


def restore(settings: Settings, mirror: Path, advance: Advance) -> tuple[Findings, Restored]:
    """Take back from a mirror what is damaged or missing: first the log, then blobs, then what restored statements name.

    The database is none of a mirror's: it is made anew. Raises as `LogRestoring.restore`, `Unavailable` when the disk fails.
    """
    with _opened(settings) as opened:
        key = LogKey.load(settings.log_key).public
        result = LogRestoring(settings.directory, settings.ledger_dir, mirror, key, (opened.rows(),)).restore()
        found = _walk(opened, opened.stages[:-1] if FACTS in opened.stages else opened.stages, advance)
        tried: set[str] = set()
        while fresh := [damage for damage in found.report.damage("blob") if damage.name not in tried]:
            tried.update(damage.name for damage in fresh)
            for damage in fresh:
                why = restore_blob(opened.blobs, mirror, damage)
                if why:
                    result.lost.append((damage, why))
                else:
                    result.back.append(damage)
                    found.mended.add(damage.name)
            _through(opened, LEDGER, found, advance)
        if FACTS in opened.stages and not result.lost:
            _through(opened, FACTS, found, advance)
        result.lost += [(damage, REBUILD) for damage in found.report.damage("database")]
    return found, result


def _walk(opened: Scrub, stages: Iterable[str], advance: Advance) -> Findings:
    found = Findings()
    for stage in stages:
        _through(opened, stage, found, advance)
    return found


def _through(opened: Scrub, stage: str, found: Findings, advance: Advance) -> None:
    """Walk a stage to its end, or as far as what is damaged lets us."""
    damaged = {damage.name for damage in found.report.damage("blob")} - found.mended
    try:
        for step in opened.walk(stage, damaged=damaged):
            found.report.add(step)
            advance(stage, step.size)
    except (Problem, OSError, sqlite3.DatabaseError) as error:
        found.cut_short[stage] = error.diagnostics() if isinstance(error, Problem) else str(error)


@contextmanager
def _opened(settings: Settings) -> Iterator[Scrub]:
    """The hub's stores, to be read. The log is opened when something is to be replayed: a damaged one cannot be."""
    blobs = open_blobs(settings.blobs, settings.blobs_dir, Fuse(), settings.seal_key)
    database = Database(settings.database_url)

    def project(fresh: Database) -> Journal:
        log = Log(settings.ledger_dir, LogKey.load(settings.log_key))
        return projecting(blobs, log, ArtifactKey.load(settings.statement_key))(fresh)

    try:
        yield Scrub(settings, blobs, database, project)
    finally:
        database.close()
        blobs.close()
