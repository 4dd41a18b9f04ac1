"""What a key signed after it was stolen is not believed, by the key that each entry keeps."""

# ruff: noqa: F811  (fixtures)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.tables import LedgerEntry
from hub.members.belief import Belief
from protos.documents.members import Keys, Revocation
from protos.documents.runs import Stop
from protos.documents.statements import sign
from tests.hub.conftest import ORIGIN, Base, base, database, database_url, reopen  # noqa: F401  (fixtures)
from trust.keys import ArtifactKey

US = {"hub": ORIGIN, "signer": "core-team"}


@pytest.fixture
def said(base: Base) -> tuple[Entry, Entry]:
    """What a member said by a key that is revoked later from the first of the two entries on, and by another of its keys."""
    stolen, own = base.enrol("core-team", "core"), ArtifactKey.generate()
    pems = [key.public.pem().decode() for key in (stolen, own)]
    base.journal.record(sign(Keys.read({**US, "version": 2, "keys": pems}), stolen, own), "core-team")
    theirs, ours = (
        base.journal.record(sign(Stop.read({**US, "target": target}), key), "core-team")
        for target, key in (("run-1", stolen), ("run-2", own))
    )
    gone = {"member": "core-team", "key": stolen.public.keyid, "compromised_since": theirs.index, "reason": "stolen"}
    revocation = Revocation.read({**US, **gone, "keeps": [own.public.keyid]})
    base.journal.record(sign(revocation, own), "core-team")
    return theirs, ours


def holds(base: Base, entry: Entry) -> bool:
    with base.database.session() as session:
        return Belief(session, base.blobs).holds("core-team", entry.index)


def kept(base: Base, entry: Entry) -> str:
    with base.database.session() as session:
        return session.get_one(LedgerEntry, entry.index).key


def test_the_key_that_signed_stands_with_the_entry_and_no_envelope_is_read_again(
    base: Base, said: tuple[Entry, Entry]
) -> None:
    for entry in said:
        base.blobs.path(entry.envelope).unlink()
    assert [holds(base, entry) for entry in said] == [False, True]


def test_a_database_that_is_made_anew_knows_the_keys(
    base: Base, said: tuple[Entry, Entry], reopen: Callable[[Database], Base], tmp_path: Path
) -> None:
    fresh = Database(f"sqlite:///{tmp_path}/fresh.sqlite")
    fresh.migrate()
    other = reopen(fresh)
    other.journal.start()
    assert [kept(other, entry) for entry in said] == [kept(base, entry) for entry in said]
    assert all(kept(other, entry) for entry in said)


def test_of_an_entry_from_before_keys_were_kept_the_envelope_says_it(base: Base, said: tuple[Entry, Entry]) -> None:
    with base.database.session(writing=True) as session:
        for entry in said:
            session.get_one(LedgerEntry, entry.index).key = ""
    assert [holds(base, entry) for entry in said] == [False, True]
    base.blobs.path(said[1].envelope).unlink()
    assert not holds(base, said[1]), "what cannot be read is not believed"
