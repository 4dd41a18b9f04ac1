"""The log against its disk: whatever fails or stops at whatever call, no acknowledged entry is lost and no history forks."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub.fuse import Fuse
from hub.ledger.log import Log
from tests.hub.disk import Disk, Killed, fails
from trust import merkle
from trust.audit import verify_log
from trust.errors import Corrupt, NotFound, Problem, Unavailable
from trust.keys import LogKey
from trust.notes import TreeHead, verify_tree_head
from trust.tiles import entries_path, tile_path

KEY = LogKey.generate("test-hub")


class Files:
    """The log's files, for the auditor."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read_tile(self, path: str) -> bytes:
        try:
            return (self._directory / path).read_bytes()
        except FileNotFoundError:
            raise NotFound(path) from None

    def read_tree_head(self) -> bytes:
        return self.read_tile("checkpoint")


def entries(count: int, first: int = 0) -> list[bytes]:
    return [b"entry %d" % number for number in range(first, first + count)]


def stored(log: Log) -> list[bytes]:
    return list(log.reader().entries(0, log.size))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger", KEY)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (255, 1, 1), (256,), (257, 255), (700, 3, 600), (66_000,)])
def test_what_was_appended_is_the_tree_of_rfc_6962_in_the_files_of_c2sp(log: Log, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        log.append(entries(size, log.size))
    assert log.head.root == merkle.root(map(merkle.leaf_hash, entries(sum(sizes))))
    audit = verify_log(Files(log.directory), KEY.public)
    assert audit.head == log.head
    assert list(audit.entries) == entries(sum(sizes))
    assert stored(Log(log.directory, KEY)) == stored(log)


def test_partial_tiles_go_when_the_tile_is_full(log: Log) -> None:
    log.append(entries(200))
    log.append(entries(300, 200))
    assert not (log.directory / "tile/0/000.p").exists()
    assert log.read(tile_path(0, 0, 200)) == log.read(tile_path(0, 0))[: 200 * 32]


def test_whoever_listens_gets_the_head_once_it_is_durable(log: Log) -> None:
    heard: list[TreeHead] = []

    def listen(note: bytes, head: TreeHead) -> None:
        assert verify_tree_head(note, KEY.public, KEY.name) == head == Log(log.directory, KEY).head
        heard.append(head)

    log.listen(listen)
    log.append(entries(3))
    log.append(entries(2, 3))
    assert [head.size for head in heard] == [3, 5]


@pytest.mark.parametrize(
    "path",
    ["tile/0/000/../../checkpoint", "tile/0/1", "tile/00/000", "tile/0/000.p/0", "tile/0/000.p/256", "checkpoint"],
)
def test_what_is_no_tile_is_not_read(log: Log, path: str) -> None:
    log.append(entries(3))
    with pytest.raises(Problem):
        log.read(path)


def test_a_tile_beyond_the_head_is_not_served(log: Log) -> None:
    log.append(entries(3))
    for path in (tile_path(0, 0, 4), tile_path(0, 0), entries_path(0, 4), tile_path(0, 1, 1), tile_path(1, 0, 1)):
        with pytest.raises(NotFound):
            log.read(path)


def test_a_log_without_its_checkpoint_does_not_begin_again(log: Log) -> None:
    log.append(entries(3))
    for name in ("checkpoint", ".head"):
        (log.directory / name).unlink()
    with pytest.raises(Corrupt, match="lost its checkpoint"):
        Log(log.directory, KEY)


def test_a_tree_that_does_not_lead_to_its_head_is_not_opened(log: Log) -> None:
    log.append(entries(3))
    path = log.directory / tile_path(0, 0, 3)
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(Corrupt, match="do not lead to"):
        Log(log.directory, KEY)


def test_after_a_failure_nothing_more_is_written_until_the_log_is_opened_again(log: Log) -> None:
    log.append(entries(3))
    disk = Disk(log.directory)
    with disk.watched(2, fails(errno.EIO)), pytest.raises(Unavailable, match="Input/output"):
        log.append(entries(1, 3))
    with disk.watched(), pytest.raises(Unavailable, match="acknowledged"):
        log.append(entries(1, 3))
    assert disk.calls == 0
    again = Log(log.directory, KEY)
    again.append(entries(1, 3))
    assert stored(again) == entries(4)


def test_a_writer_that_was_stopped_before_it_published_puts_no_older_head_back(tmp_path: Path) -> None:
    """Stopped at the worst moment, once it has staged its head and learned that it leads; meanwhile another took over."""
    other = Log(tmp_path / "ledger", KEY)

    def stopped() -> None:
        other.sweep()
        other.append(entries(1))
        other.append(entries(1, 1))

    woken = Log(tmp_path / "ledger", KEY, confirm=stopped)
    with pytest.raises(Unavailable, match=r"taken over|larger head"):
        woken.append([b"of an older lead"])
    assert verify_log(Files(other.directory), KEY.public).head == other.head
    assert Log(other.directory, KEY).head == other.head
    with pytest.raises(Unavailable):
        woken.append([b"again"])


def test_what_a_writer_staged_is_gone_when_another_takes_over(tmp_path: Path) -> None:
    """Also where the other one has published nothing larger yet."""
    other = Log(tmp_path / "ledger", KEY)
    woken = Log(tmp_path / "ledger", KEY, confirm=other.sweep)
    with pytest.raises(Unavailable, match="taken over"):
        woken.append([b"of an older lead"])
    assert (Log(other.directory, KEY).size, len(list(other.directory.glob(".checkpoint*")))) == (0, 0)


def test_a_smaller_head_replaces_no_larger_one(tmp_path: Path) -> None:
    stale, other = Log(tmp_path / "ledger", KEY), Log(tmp_path / "ledger", KEY)
    other.append(entries(3))
    with pytest.raises(Unavailable, match="larger head"):
        stale.append([b"of an older lead"])
    assert Log(other.directory, KEY).head == other.head


def test_who_may_not_write_any_more_publishes_nothing(tmp_path: Path) -> None:
    def lost() -> None:
        raise Unavailable("another process leads")

    log = Log(tmp_path / "ledger", KEY, confirm=lost)
    before = (log.directory / "checkpoint").read_bytes()
    with pytest.raises(Unavailable, match="another process leads"):
        log.append(entries(1))
    with pytest.raises(Unavailable, match="another process leads"):
        log.keep_witnessed(log.note())
    assert (log.directory / "checkpoint").read_bytes() == before
    assert log.witnessed() is None


class CrashingLog(RuleBasedStateMachine):
    """Appends, failing calls, kills and power cuts in any order."""

    @initialize()
    def create(self) -> None:
        self.directory = Path(tempfile.mkdtemp()) / "ledger"
        self.acknowledged: list[bytes] = []
        self.seen: set[tuple[int, bytes]] = set()  # every head that anybody could have read
        self.number = 0
        self.open()

    def open(self) -> None:
        self.disk = Disk(self.directory)
        self.fuse = Fuse()
        self.log = Log(self.directory, KEY, self.fuse)
        self.log.sweep()
        self.acknowledged = stored(self.log)
        self.look()

    def look(self) -> None:
        head = verify_tree_head((self.directory / "checkpoint").read_bytes(), KEY.public, KEY.name)
        self.seen.add((head.size, head.root))

    def next(self, count: int) -> list[bytes]:
        self.number += count
        return entries(count, self.number - count)

    def recover(self, attempted: Sequence[bytes]) -> None:
        """Open again: all that was acknowledged, then all of the attempt or nothing."""
        before = self.acknowledged
        self.open()
        assert stored(self.log) in (before, [*before, *attempted])

    @precondition(lambda self: not self.fuse.reason)
    @rule(count=st.sampled_from([1, 2, 200, 256, 300]))
    def append(self, count: int) -> None:
        attempted = self.next(count)
        with self.disk.watched():
            self.log.append(attempted)
        self.acknowledged += attempted
        self.look()

    @precondition(lambda self: not self.fuse.reason)
    @rule(
        count=st.sampled_from([1, 60, 256]),
        stop_at=st.integers(0, 40),
        number=st.sampled_from([errno.EIO, errno.ENOSPC]),
    )
    def append_on_a_failing_disk(self, count: int, stop_at: int, number: int) -> None:
        attempted = self.next(count)
        try:
            with self.disk.watched(stop_at, fails(number)):
                self.log.append(attempted)
        except Unavailable:
            with pytest.raises(Unavailable):
                self.log.append(attempted)
            self.look()
            self.recover(attempted)
        else:
            self.acknowledged += attempted

    @precondition(lambda self: not self.fuse.reason)
    @rule(count=st.sampled_from([1, 60, 256]), stop_at=st.integers(0, 40), power=st.none() | st.integers(0, 99))
    def kill(self, count: int, stop_at: int, power: int | None) -> None:
        attempted = self.next(count)
        try:
            with self.disk.watched(stop_at):
                self.log.append(attempted)
            self.acknowledged += attempted
        except Killed:
            self.look()  # through a web server
        if power is not None:  # a seed: flushes run side by side, and how many were done is not for a replay to tell
            self.disk.cut_power(random.Random(power).randrange)
        self.recover(attempted if self.acknowledged[-count:] != attempted else ())

    @invariant()
    def every_head_that_was_seen_is_of_this_history(self) -> None:
        hashes = [merkle.leaf_hash(entry) for entry in self.acknowledged]
        for size, root in self.seen:
            assert size <= len(hashes)
            assert merkle.root(hashes[:size]) == root

    @invariant()
    def the_files_audit_clean(self) -> None:
        assert list(verify_log(Files(self.directory), KEY.public).entries) == self.acknowledged

    def teardown(self) -> None:
        shutil.rmtree(self.directory.parent)


CrashingLog.TestCase.settings = settings(max_examples=60, stateful_step_count=12)
TestCrashingLog = CrashingLog.TestCase
