"""A hub with a full history and sealed and withdrawn submissions, copied for every test, and a mirror of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub import repair, setup
from hub.places import place
from hub.scrub.findings import Damage
from hub.settings import Settings
from tests.dashboards import history
from trust.digests import Digest


@dataclass
class Copy:
    """A hub that is not running, and what a member's mirror of it holds: the ledger, and every blob in the open."""

    settings: Settings
    mirror: Path

    def blob(self, digest: Digest) -> Path:
        return place(self.settings.blobs_dir / "sha256", digest)

    def sealed(self, digest: Digest) -> Path:
        return place(self.settings.blobs_dir / "sealed", digest)

    def ledger(self, path: str) -> Path:
        return self.settings.ledger_dir / path

    def scrub(self) -> list[Damage]:
        found = repair.scrub(self.settings, lambda stage, size: None)
        assert found.report.size
        return found.report.damage()

    def restore(self) -> tuple[list[str], list[str]]:
        """Names of what was taken back, and of what was not."""
        _, result = repair.restore(self.settings, self.mirror, lambda stage, size: None)
        return [damage.name for damage in result.back], [damage.name for damage, _ in result.lost]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the first 256 entries is full."""
    directory = tmp_path_factory.mktemp("template")
    settings = setup.create(directory / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)
    history.fill(settings)
    more = history.History(settings)
    for number in range(256 - more.base.journal.size + 9):
        more.enrol(f"member-{number}", "viewer")
    more.close()
    shutil.copytree(settings.ledger_dir, directory / "mirror" / "ledger")
    shutil.copytree(settings.blobs_dir / "sha256", directory / "mirror" / "blobs" / "sha256")
    return directory


@pytest.fixture
def copy(template: Path, tmp_path: Path) -> Copy:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Copy(Settings.load(tmp_path / "hub"), tmp_path / "mirror")


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of one byte; by default of the one in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position < 0 else position] ^= 1
    path.write_bytes(data)
