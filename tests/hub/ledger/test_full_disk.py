"""A full disk: the statement is refused with a reason, nothing is half-stored, and with room again all goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hub.database import Database
from protos.documents.base import Claim
from tests.hub.conftest import ORIGIN, Base, open_base
from tests.hub.ledger.test_journal import dataset
from trust.audit import verify_log
from trust.errors import Unavailable
from trust.keys import ArtifactKey, LogKey


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 kB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", mount], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


class Files:
    """The log's files, for the auditor."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def read_tile(self, path: str) -> bytes:
        return self._base.log.read(path)

    def read_tree_head(self) -> bytes:
        return self._base.log.note()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(os.urandom(4096))


def claim(number: int) -> Claim:
    return dataset("law-institute", f"notes-{number}")


def test_nothing_is_lost_or_half_stored(small_disk: Path, database: Database) -> None:
    base = open_base(small_disk, database, LogKey.generate(ORIGIN), ArtifactKey.generate())
    base.journal.start()
    base.enrol("law-institute")
    base.record(claim(0))
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(Unavailable, match="space"):
        base.record(claim(1))
    assert not list((small_disk / "blobs" / "partial").iterdir())
    assert base.log.size == 2
    filler.unlink()
    assert base.record(claim(1)).index == 2
    assert len(verify_log(Files(base), base.log_key.public).entries) == 3
    base.journal.stop()
