"""Faults of the hub's disk and processes, at the level of the journal. Over whole processes: tests/faults."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub import setup
from hub.database import Database
from hub.holding import held
from hub.settings import Settings
from tests.dashboards.conftest import COMMANDS, ENVIRONMENT, answers, free_ports, run
from tests.hub.conftest import ORIGIN, Base, open_base
from tests.hub.disk import Disk, fails
from tests.hub.ledger.test_journal import dataset
from tests.hub.ledger.test_log import Files
from trust.audit import verify_log
from trust.errors import Conflict, Unavailable
from trust.keys import ArtifactKey, LogKey
from trust.notes import TreeHead, verify_tree_head
from trust.receipts import verify_receipt

MEMBER = "law-institute"


class Hub:
    """The stores of a hub that is copied, broken and opened again."""

    def __init__(self, directory: Path) -> None:
        self._template = directory / "template"
        self._template.mkdir()
        self._log_key, self._hub_key = LogKey.generate(ORIGIN), ArtifactKey.generate()
        self._keys: dict[str, ArtifactKey] = {}
        with self.opened(self._template) as base:
            self._keys[MEMBER] = base.enrol(MEMBER)
            self.record(base, 1)

    @contextmanager
    def opened(self, directory: Path) -> Iterator[Base]:
        """As the hub's start opens them."""
        database = Database(f"sqlite:///{directory / 'database.sqlite'}")
        if not (directory / "database.sqlite").exists():
            database.migrate()
        base = open_base(directory, database, self._log_key, self._hub_key)
        base.keys |= self._keys
        base.blobs.sweep()
        base.log.sweep()
        base.journal.start()
        try:
            yield base
        finally:
            base.journal.stop()
            database.close()

    def copy(self, directory: Path) -> Path:
        """A hub whose ledger holds a member and a dataset."""
        shutil.copytree(self._template, directory)
        return directory

    def record(self, base: Base, number: int) -> int:
        return base.record(dataset(MEMBER, f"notes-{number}")).index

    def check(self, directory: Path, seen: TreeHead | None = None, acknowledged: bool = False) -> None:
        """After a restart: the ledger audits clean, extends what was seen, has what was acknowledged, and goes on."""
        with self.opened(directory) as base:
            audit = verify_log(Files(base.log.directory), self._log_key.public, seen)
            assert len(audit.entries) in ((3,) if acknowledged else (2, 3))
            assert self.record(base, 3) == len(audit.entries)
            receipt = base.journal.receipt(base.log.size - 1)
            verify_receipt(receipt.proof, receipt.leaf, self._log_key.public)

    def head(self, checkpoint: Path) -> TreeHead:
        return verify_tree_head(checkpoint.read_bytes(), self._log_key.public, ORIGIN)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def calls_of_one_record(hub: Hub, directory: Path) -> int:
    """Calls of the operating system under the hub's directory, SQLite's own apart."""
    with hub.opened(hub.copy(directory)) as base:
        disk = Disk(directory)
        with disk.watched():
            hub.record(base, 2)
    return disk.calls


def in_a_child(work: Callable[[], None]) -> bool:
    """Run in a process of its own; whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


@pytest.mark.parametrize("power", [False, True], ids=["kill -9", "power cut"])
def test_attack_14_a_kill_at_every_call_of_an_append_loses_nothing_and_forks_nothing(
    hub: Hub, tmp_path: Path, power: bool
) -> None:
    """14: kill -9 or a power cut at every system call of recording a statement. After the restart the log audits clean,
    every acknowledged entry is there, and every head that ever was visible is of the one history."""
    count = calls_of_one_record(hub, tmp_path / "count")
    assert count >= 15
    for stop_at in range(count + 1):
        directory = hub.copy(tmp_path / str(stop_at))
        chance = random.Random(stop_at)

        def die(disk: Disk, directory: Path = directory, chance: random.Random = chance) -> None:
            shutil.copy(directory / "ledger" / "checkpoint", directory / "seen")
            if power:
                disk.cut_power(chance.randrange)
            os.kill(os.getpid(), signal.SIGKILL)

        def work(directory: Path = directory, stop_at: int = stop_at) -> None:
            with hub.opened(directory) as base:
                disk = Disk(directory)
                with disk.watched(stop_at, lambda: die(disk)):
                    hub.record(base, 2)
                os._exit(0)

        acknowledged = in_a_child(work)
        assert acknowledged == (stop_at == count)
        seen = directory / "seen" if not acknowledged else directory / "ledger" / "checkpoint"
        hub.check(directory, hub.head(seen), acknowledged)
        shutil.rmtree(directory)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_attack_15_a_failed_write_or_flush_is_never_acknowledged_nor_tried_again(
    hub: Hub, tmp_path: Path, number: int
) -> None:
    """15: any call fails with EIO or ENOSPC in the middle of a commit. Who waits is refused. A failed flush stops every
    writer until the restart; a full disk before anything was promised is a refusal. The state is intact either way."""
    count = calls_of_one_record(hub, tmp_path / "count")
    stopped = 0
    for stop_at in range(count):
        directory = hub.copy(tmp_path / str(stop_at))
        with hub.opened(directory) as base:
            with Disk(directory).watched(stop_at, fails(number)), pytest.raises(Unavailable):
                hub.record(base, 2)
            stopped += bool(base.fuse.reason)
            if base.fuse.reason:
                with pytest.raises(Unavailable, match="The hub stops"):
                    hub.record(base, 4)
            else:
                assert number == errno.ENOSPC
                assert hub.record(base, 4) == 2
        if base.fuse.reason:
            hub.check(directory, hub.head(directory / "ledger" / "checkpoint"))
        shutil.rmtree(directory)
    assert stopped >= count // 2


FAILING_HUB = """
import errno, os, sys
flush, armed = os.fdatasync, sys.argv.pop()

def fails(descriptor):
    if os.path.exists(armed):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    flush(descriptor)

os.fdatasync = fails
from hub.cli import main
main()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))


@pytest.mark.system
def test_attack_15_a_hub_whose_flush_fails_refuses_the_caller_and_ends(settings: Settings, tmp_path: Path) -> None:
    """15: fsync returns EIO under a running hub. The member is told UNAVAILABLE, the process ends with an error and one
    sentence, and the next start serves what was acknowledged."""
    armed, log = tmp_path / "armed", tmp_path / "log"
    command = [sys.executable, "-c", FAILING_HUB, "serve", str(settings.directory), str(armed)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=ENVIRONMENT) as process:
        try:
            until(lambda: answers(settings.port) and answers(settings.enrol_port), process, log)
            enrol(settings, "First", tmp_path / "first")
            armed.touch()
            with pytest.raises(AssertionError, match=r"UNAVAILABLE|The hub stops"):
                enrol(settings, "Second", tmp_path / "second")
            assert process.wait(30) == 1
        finally:
            process.kill()
    assert "Input/output error" in log.read_text()
    assert "Traceback" not in log.read_text()
    with held(settings.directory):
        pass


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    while not ready():
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(log.read_text())


def enrol(settings: Settings, organisation: str, home: Path) -> None:
    token = run("coalition-hub", "invite", str(settings.directory), "--organisation", organisation)["token"]
    address = f"{settings.host}:{settings.port}"
    run("coalition", "enrol", "--hub", address, "--token", token, home=home)


def test_attack_36_a_second_hub_on_the_same_directory_does_not_start(settings: Settings) -> None:
    """36: two hub processes are started on one data directory. The second says so in one sentence and ends; there is no
    second writer of the log."""
    with held(settings.directory):
        command = [str(COMMANDS / "coalition-hub"), "serve", str(settings.directory)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Another process serves or repairs the hub" in done.stderr
        assert "Traceback" not in done.stderr
        with pytest.raises(Conflict), held(settings.directory):
            pass
    assert not (settings.ledger_dir / "checkpoint").exists()
