"""Large parts of messages lie in files beside the SuperLink's database, as long as a row names them and no longer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.object_store.sql_object_store import SqlObjectStore

from hub.rounds.objects import LARGE, MARK, Objects

RUN = 7


def record(size: int) -> bytes:
    """An object without children."""
    return b"ConfigRecord  %d\0" % size + os.urandom(size)


def opened(path: Path) -> Objects:
    store = Objects(str(path))
    store.initialize()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    return opened(tmp_path / "state.db")


def files(store: Objects) -> list[Path]:
    return sorted(store._folder.iterdir())


def keep(store: SqlObjectStore, content: bytes, *parents: str) -> str:
    """Announce and store an object, as the child of these."""
    name: str = get_object_id(content)
    for parent in parents:
        store.preregister(RUN, ObjectTree(object_id=parent, children=[ObjectTree(object_id=name)]))
    if not parents:
        store.preregister(RUN, ObjectTree(object_id=name))
    store.put(name, content)
    return name


@contextmanager
def undone(store: Objects) -> Iterator[None]:
    """A transaction that comes to nothing."""
    with suppress(InterruptedError), store.session():
        yield
        raise InterruptedError


def test_what_is_large_lies_in_a_file_and_what_is_small_in_the_database(store: Objects) -> None:
    small, large = record(100), record(LARGE)
    assert store.get(keep(store, small)) == small
    assert files(store) == []
    assert store.get(keep(store, large)) == large
    assert [path.read_bytes() for path in files(store)] == [large]


def test_a_file_goes_with_the_last_message_that_it_is_part_of(store: Objects) -> None:
    content, first, second = record(LARGE), "1" * 64, "2" * 64
    name = keep(store, content, first, second)
    store.delete(first)
    assert store.get(name) == content
    store.delete(second)
    assert (store.get(name), files(store)) == (None, [])


def test_a_files_end_is_that_of_its_row(store: Objects) -> None:
    content = record(LARGE)
    name = keep(store, content)
    with undone(store):
        store.delete(name)
    assert store.get(name) == content
    store.delete_objects_in_run(RUN)
    assert files(store) == []


def test_no_file_stays_of_an_object_that_was_not_stored(store: Objects) -> None:
    content = record(LARGE)
    with pytest.raises(NoObjectInStoreError):
        store.put(get_object_id(content), content)
    store.preregister(RUN, ObjectTree(object_id=get_object_id(content)))
    with undone(store):
        store.put(get_object_id(content), content)
    assert files(store) == []


def test_an_object_that_comes_twice_lies_there_once(store: Objects) -> None:
    content = record(LARGE)
    keep(store, content)
    assert store.get(keep(store, content)) == content
    assert len(files(store)) == 1


@pytest.mark.parametrize("content", [MARK + b"../../secret 10", b"no head", b"Unheard 0 0\0", record(LARGE) + b"more"])
def test_what_is_no_object_is_refused(store: Objects, content: bytes) -> None:
    name = get_object_id(content)
    store.preregister(RUN, ObjectTree(object_id=name))
    with pytest.raises(Exception, match=r"structure|match"):
        store.put(name, content)
    with pytest.raises(ValueError, match="does not match"):
        store.put(name, record(10))
    assert (store.get(name), files(store)) == (b"", [])


def test_a_restart_keeps_what_rows_name_and_removes_the_rest(store: Objects, tmp_path: Path) -> None:
    content = record(LARGE)
    name = keep(store, content)
    (store._folder / "left-behind").write_bytes(b"of a process that was killed")
    again = opened(tmp_path / "state.db")
    assert again.get(name) == content
    assert len(files(again)) == 1


def test_a_file_that_is_gone_or_not_whole_is_an_object_that_is_lost(store: Objects) -> None:
    name = keep(store, record(LARGE))
    (path,) = files(store)
    os.truncate(path, LARGE // 2)
    assert store.get(name) is None
    path.unlink()
    assert store.get(name) is None
    store.delete(name)
    assert store.get(name) is None


def test_a_database_of_flowers_own_is_read_as_it_is(tmp_path: Path) -> None:
    own = SqlObjectStore(str(tmp_path / "state.db"))
    own.initialize()
    content = record(LARGE)
    name = keep(own, content)
    store = opened(tmp_path / "state.db")
    assert store.get(name) == content
    store.delete(name)
    assert store.get(name) is None
