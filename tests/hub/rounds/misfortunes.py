"""What can befall a member's machine: its clock, its connection, its training process, and the release that it runs."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contributors.site.consent import change_agreements
from contributors.site.policy import Agreements
from tests.hub.rounds.conftest import ROOT, World, pids
from trust.digests import digest_bytes
from trust.files import write_atomic

DAY = 86_400.0
OLDER = "0.0.9"


@dataclass(frozen=True)
class Machine:
    """Where a member's site runs. `folders` come before the project's own in its PYTHONPATH."""

    world: World
    member: str

    @property
    def _folder(self) -> Path:
        folder = self.world.directory / f"machine-of-{self.member}"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def home(self) -> Path:
        return self.world.homes[self.member].directory

    @property
    def log(self) -> str:
        """What the member reads on its screen."""
        return (self.world.directory / f"{self.member}.log").read_text()

    def start(self, *, older: bool = False) -> None:
        """Start the site, from an older release where that is asked for."""
        shutil.copy(Path(__file__).with_name("unlucky_machine.py"), self._folder / "sitecustomize.py")
        self.world.site(self.member, *([self._older_release()] if older else []), self._folder)

    def clock(self, ahead: float) -> None:
        """So many seconds ahead of the true time."""
        write_atomic(self._folder / "seconds", str(ahead).encode())

    def cut(self) -> None:
        """The SuperNode dies in the middle of the next upload."""
        (self._folder / "cut").touch()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """The training process does nothing."""
        (process,) = pids(str(self.home), "contributors.site.clientapp")
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    def mistake_the_base(self) -> None:
        """The weights of the base model are others on this machine's ledger than those that the hub sends."""

        def change(known: Agreements) -> Agreements:
            (agreed,) = known.campaigns
            others = {"model.safetensors": digest_bytes(b"other weights")}
            base = tuple(each.model_copy(update={"digest": others.get(each.path, each.digest)}) for each in agreed.base)
            return Agreements(campaigns=(agreed.model_copy(update={"base": base}),))

        change_agreements(self.home, change)

    def _older_release(self) -> Path:
        """The sources of a release of before SCAFFOLD, as far as the wire is concerned: a task had no `control`."""
        older = self.world.directory / "older"
        shutil.copytree(ROOT / "protos", older / "protos", ignore=shutil.ignore_patterns("__pycache__"))
        rounds = older / "protos" / "documents" / "rounds.py"
        now, field = rounds.read_text(), "    control: Control | None = None\n"
        assert field in now
        rounds.write_text(now.replace(field, ""))
        described = older / f"coalition-{OLDER}.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: coalition\nVersion: {OLDER}\n")
        return older
