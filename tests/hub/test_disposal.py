"""A blob leaves the store when nobody needs it. Whoever began to rely on it before it went keeps it, whoever came later is told
that it is gone. In a directory and in a bucket alike."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.disposal import FRESH, Disposal
from hub.object_blobs import IDLE
from tests.hub.conftest import database, database_url  # noqa: F401  (fixtures)
from tests.hub.test_blobs import KINDS, Bucket, blobs, bucket, kind, server  # noqa: F401  (fixtures)
from tests.hub.test_vault import seal
from trust.digests import Digest, digest_bytes
from trust.errors import Unavailable

DATA = b"nobody's data"


def put_long_ago(store: BlobStore, data: bytes) -> Digest:
    """Stored, and not relied on for longer than a disposal waits."""
    digest = store.put(data)
    os.utime(store.path(digest), (0, 0))
    return digest


def disposal(database: Database, store: BlobStore, *needed: Digest) -> Disposal:  # noqa: F811
    return Disposal(database, store, [lambda session, digest: digest in needed])


def test_what_nobody_needs_goes_and_again_does_nothing(database: Database, blobs: BlobStore) -> None:  # noqa: F811
    digest, other = put_long_ago(blobs, DATA), put_long_ago(blobs, b"other")
    remover = disposal(database, blobs, other)
    assert [remover.dispose(digest), remover.dispose(digest)] == ["gone", "gone"]
    assert remover.dispose(other) == "needed"
    assert not blobs.has(digest)
    assert blobs.read(other) == b"other"
    assert blobs.put(DATA) == digest, "it can come again"
    assert blobs.read(digest) == DATA


def test_what_was_stored_or_relied_on_lately_stays(database: Database, blobs: BlobStore) -> None:  # noqa: F811
    """A model between its bytes and its entry is named nowhere yet."""
    remover = disposal(database, blobs)
    digest = blobs.put(DATA)
    assert remover.dispose(digest) == "fresh"
    for rely in (lambda: blobs.put(DATA), lambda: blobs.put_group([DATA]), lambda: blobs.keep(digest)):
        os.utime(blobs.path(digest), (0, 0))
        assert rely() in (digest, None, True)
        assert remover.dispose(digest) == "fresh"
    assert remover.dispose(digest, age=0) == "gone"
    assert not blobs.keep(digest)


def test_what_was_set_aside_as_damaged_goes_as_well(database: Database, tmp_path: Path) -> None:  # noqa: F811
    """What must not be anywhere must not lie among the damaged either."""
    store = BlobStore(tmp_path / "blobs")
    digest, other = put_long_ago(store, DATA), store.put(b"other")
    for _ in range(2):
        store.put(DATA)
        for damaged in (digest, other):
            store.path(store.put(DATA if damaged == digest else b"other")).write_bytes(b"changed")
            assert store.set_aside(damaged)
    remover = disposal(database, store, other)
    assert remover.lies(digest)
    assert [remover.dispose(digest), remover.dispose(digest), remover.dispose(other)] == ["gone", "gone", "needed"]
    assert not remover.lies(digest)
    assert store.was_set_aside(other)


def test_a_cache_remembers_for_as_long_as_a_disposal_waits() -> None:
    assert FRESH <= IDLE


@pytest.mark.system
def test_a_bucket_loses_it_too_and_another_hub_finds_nothing(
    database: Database,  # noqa: F811
    bucket: Bucket,  # noqa: F811
) -> None:
    digest = put_long_ago(bucket.open(), DATA)
    elsewhere = bucket.open("elsewhere")  # which has fetched nothing: there is no sign that it was relied on
    assert disposal(database, elsewhere).dispose(digest) == "gone"
    assert not bucket.open("a-third").has(digest)


def test_a_sealed_blob_goes_with_what_was_opened_of_it(database: Database, tmp_path: Path) -> None:  # noqa: F811
    store = BlobStore(tmp_path / "blobs")
    digest = seal(store, DATA)
    opened = store.path(digest)
    os.utime(store.vault.place(digest), (0, 0))
    assert disposal(database, store).dispose(digest) == "gone"
    assert not store.has(digest)
    assert not opened.exists()
    store.close()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


class Slow:
    """A room that takes its time to answer; meanwhile others come."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()

    def needs(self, session: Session, digest: Digest) -> bool:
        self.asked.set()
        assert self.answer.wait(30)
        return False


@pytest.fixture
def disposing(database: Database, store: BlobStore) -> Iterator[Slow]:  # noqa: F811
    """In the middle of the disposal of DATA, which ends with the test."""
    digest, slow = put_long_ago(store, DATA), Slow()
    thread = threading.Thread(target=Disposal(database, store, [slow.needs]).dispose, args=[digest])
    thread.start()
    assert slow.asked.wait(30)
    yield slow
    slow.answer.set()
    thread.join()


@pytest.mark.parametrize("how", ["keep", "put", "put_group"])
def test_who_comes_during_a_disposal_waits_for_its_end(store: BlobStore, disposing: Slow, how: str) -> None:
    """And then finds it gone, or stores it anew: it is never told that a blob is there which goes a moment later."""
    told: list[object] = []
    calls = {
        "keep": lambda: store.keep(digest_bytes(DATA)),
        "put": lambda: store.put(DATA),
        "put_group": lambda: store.put_group([DATA]),
    }
    coming = threading.Thread(target=lambda: told.append(calls[how]()))
    coming.start()
    coming.join(0.2)
    assert not told
    disposing.answer.set()
    coming.join()
    assert store.has(digest_bytes(DATA)) == (how != "keep")
    assert told[0] is not True


def test_another_process_waits_as_well(store: BlobStore, disposing: Slow, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; from pathlib import Path; from hub.blobs import BlobStore; "]
    words[-1] += "sys.stdout.write('begun\\n'); sys.stdout.flush(); "
    words[-1] += f"print(BlobStore(Path(sys.argv[1])).keep({digest_bytes(DATA)!r}))"
    with subprocess.Popen([*words, str(tmp_path / "blobs")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        saying = select.poll()
        saying.register(process.stdout, select.POLLIN)
        assert saying.poll(500) == []
        disposing.answer.set()
        assert process.stdout.readline() == "False\n"


def test_many_rely_at_once(store: BlobStore) -> None:
    digest = store.put(DATA)
    with store.gate.keeping(), store.gate.keeping():
        kept: list[bool] = []
        other = threading.Thread(target=lambda: kept.append(store.keep(digest)))
        other.start()
        other.join(30)
    assert kept == [True]


def test_a_room_that_cannot_answer_keeps_the_blob(database: Database, store: BlobStore) -> None:  # noqa: F811
    digest = put_long_ago(store, DATA)

    def away(session: Session, digest: Digest) -> bool:
        raise Unavailable("The database is away.")

    with pytest.raises(Unavailable):
        Disposal(database, store, [away]).dispose(digest)
    assert store.read(digest) == DATA
    assert Disposal(database, store, []).dispose(digest) == "gone", "and nobody is locked out"
