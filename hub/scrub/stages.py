"""The stages of a scrub, over a hub's stores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger import rows
from hub.ledger.grants import is_known
from hub.ledger.grants import named as is_named
from hub.scrub.copies import Folder, Rows
from hub.scrub.findings import Walk
from hub.scrub.ledger import LedgerWalk, Named
from hub.scrub.pages import Project, walk_facts, walk_pages
from hub.scrub.store import walk_blobs, walk_sealed
from hub.settings import Settings
from trust.digests import Digest
from trust.keys import LogKey

PAGES, BLOBS, SEALED, LEDGER, FACTS = "pages", "blobs", "sealed", "ledger", "facts"


@dataclass(frozen=True)
class Scrub:
    """What is walked, and what helps: `project` makes the facts of the database anew."""

    settings: Settings
    blobs: BlobStore
    database: Database
    project: Project

    @property
    def stages(self) -> tuple[str, ...]:
        """In order. The pages of PostgreSQL are its server's own, which has checksums for them."""
        return (PAGES, BLOBS, SEALED, LEDGER, FACTS) if self._sqlite else (BLOBS, SEALED, LEDGER)

    def walk(self, stage: str, after: str = "", damaged: Collection[str] = ()) -> Walk:
        """A stage from `after` on; `damaged` blobs are known to be so, and the ledger tells whose they are.

        Raises `Unavailable` when a bucket is away, `Corrupt` when the ledger has no head, or too much of it or of a
        statement is damaged to replay it, and `sqlite3.DatabaseError` for a database that cannot be compared.
        """
        if stage == BLOBS:
            return walk_blobs(self.blobs, after)
        if stage == SEALED:
            return walk_sealed(self.blobs, after)
        if stage == LEDGER:
            return self._ledger(damaged).steps(after)
        path = self._sqlite or Path()
        return walk_pages(path, after) if stage == PAGES else walk_facts(path, self.project, self.settings.scrub_dir)

    def rows(self) -> Rows:
        """The entries as the database knows them."""
        return Rows(self._leaves)

    def _ledger(self, damaged: Collection[str]) -> LedgerWalk:
        named = Named(self.blobs, self._purged, damaged)
        key = LogKey.load(self.settings.log_key).public
        return LedgerWalk(Folder(self.settings.ledger_dir), key, named, (self.rows(),))

    def _leaves(self, start: int, stop: int) -> Sequence[bytes]:
        with self._asked() as session:
            return [rows.leaf(row) for row in rows.between(session, start, stop)] if session else ()
        return ()

    def _purged(self, digest: Digest) -> bool:
        """Whether the ledger lets it be absent; in doubt, not."""
        with self._asked() as session:
            return session is not None and is_known(session, digest) and not is_named(session, digest)
        return False

    @contextmanager
    def _asked(self) -> Iterator[Session | None]:
        """A look at the database. One that is lost (and must not be made by looking) or damaged has nothing to say."""
        if self._sqlite and not self._sqlite.is_file():
            yield None
            return
        with suppress(SQLAlchemyError), Session(self.database.engine) as session:
            yield session

    @property
    def _sqlite(self) -> Path | None:
        url = make_url(self.settings.database_url)
        return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
