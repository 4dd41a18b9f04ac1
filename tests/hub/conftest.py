"""A hub's foundation in a temporary directory, on SQLite or, where COALITION_TEST_POSTGRES names a server, PostgreSQL."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
import pytest

from hub.authorities import Authorities
from hub.blobs import BlobStore
from hub.database import Database
from hub.fuse import Fuse
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.members import projection as members_projection
from hub.members.certification import Certification
from hub.members.directory import prove
from hub.models import projection as models_projection
from hub.settings import Settings
from hub.submissions import projection as submissions_projection
from hub.witnesses import projection as witnesses_projection
from protos.documents.base import Claim
from protos.documents.members import Member
from protos.documents.statements import HUB, sign
from trust.certificates import Authority
from trust.files import write_private
from trust.keys import ArtifactKey, LogKey

ORIGIN = "test-hub"


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """An empty database of its own for every test."""
    server = os.environ.get("COALITION_TEST_POSTGRES")
    if not server:
        yield f"sqlite:///{tmp_path / 'database.sqlite'}"
        return
    name = f"coalition_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    yield f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def migrated(database_url: str) -> Database:
    """An empty database with today's tables. SQLite's is a copy of one: all revisions, run again for every test, take ten
    times as long."""
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).write_bytes(_tables())
    database = Database(database_url)
    database.migrate()
    return database


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "database.sqlite")
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()  # nothing of it is in the write-ahead log then
        return path.read_bytes()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = migrated(database_url)
    yield database
    database.close()


@dataclass
class Base:
    """The stores of a hub, a started journal, and the keys of those who sign."""

    directory: Path
    database: Database
    blobs: BlobStore
    log: Log
    journal: Journal
    hub_key: ArtifactKey
    log_key: LogKey
    fuse: Fuse
    keys: dict[str, ArtifactKey] = field(default_factory=dict)

    def enrol(self, member: str, role: str = "contributor") -> ArtifactKey:
        """A member in the ledger, as enrolment leaves it."""
        key = ArtifactKey.generate()
        self.keys[member] = key
        self.journal.sign_and_record(
            Member.read(
                {
                    "hub": ORIGIN,
                    "signer": HUB,
                    "member": member,
                    "organisation": member.title(),
                    "role": role,
                    "artifact_key": key.public.pem().decode(),
                }
            )
        )
        return key

    def certification(self, authorities: Authorities, days: float = 7) -> Certification:
        return Certification(self.database, authorities, self.hub_key, days)

    def record(self, claim: Claim) -> Entry:
        """A member's statement, signed with its key and recorded."""
        return self.journal.record(sign(claim, self.keys[claim.signer]), claim.signer)


def make_authorities(directory: Path) -> Authorities:
    """A hub's authority and the certificate of its listeners, in files as `coalition-hub init` leaves them."""
    settings = Settings.read({"directory": directory, "name": ORIGIN})
    authority = Authority.create(ORIGIN)
    authority.save(settings.authority_dir)
    key, chain = authority.issue_server(["127.0.0.1", "localhost"])
    settings.tls_key.parent.mkdir()
    write_private(settings.tls_key, key)
    settings.tls_chain.write_bytes(chain)
    return Authorities(settings)


def open_base(directory: Path, database: Database, log_key: LogKey, hub_key: ArtifactKey) -> Base:
    """Open (again) what lies in a directory; the journal is registered and not started."""
    fuse = Fuse()
    blobs = BlobStore(directory / "blobs", fuse)
    log = Log(directory / "ledger", log_key, fuse)
    journal = Journal(database, blobs, log, hub_key, prove)
    for room in (members_projection, witnesses_projection, submissions_projection, models_projection):
        room.register(journal)
    return Base(directory, database, blobs, log, journal, hub_key, log_key, fuse)


@pytest.fixture
def base(tmp_path: Path, database: Database) -> Iterator[Base]:
    base = open_base(tmp_path, database, LogKey.generate(ORIGIN), ArtifactKey.generate())
    base.journal.start()
    yield base
    base.journal.stop()
    base.blobs.close()


@pytest.fixture
def reopen(base: Base) -> Iterator[Callable[[Database], Base]]:
    """The same directory opened by a second hub process, as after a crash, with a database of its own."""
    opened: list[Base] = []

    def again(database: Database) -> Base:
        other = open_base(base.directory, database, base.log_key, base.hub_key)
        opened.append(other)
        return other

    yield again
    for other in opened:
        other.journal.stop()
        other.blobs.close()
