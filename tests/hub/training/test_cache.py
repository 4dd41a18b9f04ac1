"""A node's cache: sound or not there, bounded, the oldest go first, and never what is in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hub.training.cache import Cache
from trust.digests import Digest, digest_bytes


def put(cache: Cache, data: bytes, used: float) -> Digest:
    """A blob as a download leaves it, used last so many seconds after the epoch."""
    digest = digest_bytes(data)
    path = cache.path(digest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (used, used))
    return digest


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "blobs", 30)


def test_what_was_not_used_for_the_longest_goes_first(cache: Cache) -> None:
    old, older, newest = put(cache, b"o" * 10, 200), put(cache, b"p" * 10, 100), put(cache, b"n" * 10, 300)
    cache.make_room(10)
    assert set(cache.digests()) == {old, newest}
    assert cache.take(old) is not None, "which makes it the newest"
    cache.begin()
    cache.make_room(20)
    assert set(cache.digests()) == {old}
    assert cache.take(older) is None


def test_what_the_task_uses_stays_though_it_is_too_much(cache: Cache) -> None:
    used, other = put(cache, b"u" * 20, 100), put(cache, b"o" * 10, 200)
    assert cache.take(used) == cache.path(used)
    cache.make_room(1000)
    assert cache.digests() == [used]
    assert cache.take(other) is None


def test_a_blob_that_the_disk_has_changed_is_not_taken(cache: Cache) -> None:
    digest = put(cache, b"data", 100)
    cache.path(digest).write_bytes(b"date")
    assert cache.take(digest) is None
    assert cache.digests() == []


def test_what_is_withdrawn_is_dropped_in_whole_and_in_part(cache: Cache) -> None:
    digest = put(cache, b"data", 100)
    part = cache.path(digest).with_name(f".{cache.path(digest).name}.part")
    part.write_bytes(b"da")
    cache.drop([digest])
    assert not part.exists()
    assert cache.digests() == []
