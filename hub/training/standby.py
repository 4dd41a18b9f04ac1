"""The warm ranks of a node (`hub.training.warm`): started while an attempt trains, for the one after it."""

from __future__ import annotations

import logging
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from hub.training.launch import Child
from hub.training.warm import FOLDER
from hub.training.workplace import Workplace

_log = logging.getLogger(__name__)
_OWN = ("TMPDIR", "GLOO_SOCKET_IFNAME", FOLDER)
"""What differs from attempt to attempt in their environment, and is not read before a job is taken."""


class Standby:
    """At most one set, and each for one attempt."""

    def __init__(self) -> None:
        self._waiting, self._serving = list[Child](), list[Child]()
        self._folder = Path()
        self._fit: dict[str, str] = {}

    async def take(self, processes: int, environment: Mapping[str, str]) -> dict[str, str]:
        """What an attempt's environment says of the processes that are warm for it; nothing where none are. What served the
        attempt before is ended, should it still be there; so is what does not fit."""
        fit = len(self._waiting) == processes and self._fit == _lasting(environment)
        for child in self._serving if fit else [*self._serving, *self._waiting]:
            await child.kill()
        self._serving, self._waiting = self._waiting if fit else [], []
        return {FOLDER: str(self._folder)} if fit else {}

    async def start(self, processes: int, environment: Mapping[str, str], place: Workplace) -> None:
        """Warm up so many, unless that was begun."""
        if self._waiting:
            return
        for old in (place.home / "warm").glob("*"):
            if old != self._folder:  # which those may use that serve now
                shutil.rmtree(old, ignore_errors=True)
        self._folder, self._fit = place.home / "warm" / secrets.token_hex(4), _lasting(environment)
        self._folder.mkdir(parents=True)
        own = {"TMPDIR": str(self._folder)}
        for rank in range(processes):
            command = place.concealed([sys.executable, "-m", "hub.training.warm", str(self._folder / str(rank))])
            self._waiting.append(await Child.start(command, self._fit | own, self._folder / f"{rank}.log"))
        _log.info("%d processes are warmed up for the next attempt", processes)


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _OWN}
