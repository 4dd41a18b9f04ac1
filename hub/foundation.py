"""What every room stands on, opened once from a hub's directory."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from hub.authorities import Authorities
from hub.blobs import BlobStore
from hub.database import Database
from hub.fuse import Fuse
from hub.ledger.election import Candidate, Election
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.members.directory import prove
from hub.object_blobs import open_blobs
from hub.progress.log import Progress
from hub.settings import Settings
from trust.keys import ArtifactKey, LogKey


@dataclass(frozen=True)
class Foundation:
    """The stores, the ledger and the keys of a hub; `election` where several processes are one hub."""

    settings: Settings
    fuse: Fuse
    database: Database
    blobs: BlobStore
    log: Log
    journal: Journal
    progress: Progress
    authorities: Authorities
    statement_key: ArtifactKey
    election: Election | None

    @classmethod
    def open(cls, settings: Settings, *, together: bool = False, to_look: bool = False) -> Foundation:
        """Migrate the database and open the stores; nothing runs yet. `together` with other processes: as a candidate.
        Only `to_look`, also beside a hub that runs: nothing is migrated, and what is under way is left alone."""
        fuse = Fuse()
        election = _candidate(settings, fuse) if together else None
        database = Database(election.url if election else settings.database_url, fuse)
        if not to_look:
            database.migrate()
        blobs = open_blobs(settings.blobs, settings.blobs_dir, fuse, settings.seal_key)
        confirm = election.check if election else lambda: None
        log = Log(settings.ledger_dir, LogKey.load(settings.log_key), fuse, confirm)
        if election is None and not to_look:
            blobs.sweep()
            log.sweep()
        key = ArtifactKey.load(settings.statement_key)
        journal = Journal(database, blobs, log, key, prove, election)
        authorities = Authorities(settings)
        return cls(settings, fuse, database, blobs, log, journal, Progress(database), authorities, key, election)


def _candidate(settings: Settings, fuse: Fuse) -> Election:
    name = f"coalition-hub-{secrets.token_hex(8)}"
    return Election(settings.database_url, Candidate(name, settings.address, settings.enrolment_address), fuse)
