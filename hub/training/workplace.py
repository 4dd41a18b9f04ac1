"""A node's directory and its way to the hub's blobs."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from hub.training import shards
from hub.training.cache import Cache
from hub.training.hidden import hiding
from hub.training.messages import file_entries
from protos.coalition.v1 import common_pb2, training_pb2
from protos.transport import blobs
from trust.digests import Digest
from trust.errors import Corrupt, Unavailable

HUB_AWAY = 900.0  # seconds for which a transfer is tried again while the hub is away
LONGEST_PAUSE = 5.0
PART = 1000
LIMIT = 200 * 10**9
_log = logging.getLogger(__name__)


class Workplace:
    """Layout: `blobs/HEX` (a cache of at most `limit` bytes), `runs/RUN/attempt-N/` (the present attempt),
    `runs/RUN/checkpoints/` (all attempts'), `home/` (the runs' own), `tls/` (the node's key, which no
    run sees unless it may).
    """

    def __init__(self, directory: Path, channel: grpc.Channel, limit: int = LIMIT, *, show_key: bool = False) -> None:
        self._directory, self._channel, self._show_key = directory, channel, show_key
        self._cache = Cache(directory / "blobs", limit)

    def reconnect(self, channel: grpc.Channel) -> None:
        """Transfers from now on take this channel; those that go on end on theirs."""
        self._channel = channel

    def attempt_folder(self, run: str, attempt: int) -> Path:
        """An empty folder for an attempt; earlier attempts' are removed."""
        for old in (self._directory / "runs" / run).glob("attempt-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = self._directory / "runs" / run / f"attempt-{attempt}"
        (folder / "tmp").mkdir(parents=True)
        self.home.mkdir(exist_ok=True)
        self.begin()
        return folder

    def begin(self) -> None:
        """A new task: what earlier ones used may go from the cache."""
        self._cache.begin()

    @property
    def home(self) -> Path:
        """Of all runs, for what libraries keep in caches; the user's own is not theirs to write to."""
        return self._directory / "home"

    def concealed(self, command: Sequence[str]) -> list[str]:
        """The command as a run's: without sight of the node's key."""
        return list(command) if self._show_key else hiding([self._directory / "tls"], command)

    def checkpoints(self, run: str) -> Path:
        folder = self._directory / "runs" / run / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def register(self, run: str, step: int) -> None:
        """A run's checkpoint is in the ledger: its shard stays until newer ones are, on every machine that shares this folder."""
        for part in shards.all_parts(self.checkpoints(run)):
            shards.register(part, step)

    def forget(self, run: str) -> None:
        """A run has ended: its checkpoints and attempts are of no more use."""
        shutil.rmtree(self._directory / "runs" / run, ignore_errors=True)

    def kept(self) -> Iterator[training_pb2.Kept]:
        """What lies in the cache, whole or in part, and the runs that have left something; in parts."""
        digests, runs = self._cache.digests(), self._runs()
        for start in range(0, max(len(digests), len(runs)), PART):
            yield training_pb2.Kept(digests=digests[start : start + PART], runs=runs[start : start + PART])

    def drop(self, digests: Iterable[str], runs: Iterable[str]) -> None:
        """Remove from the cache, and forget runs."""
        self._cache.drop(digests)
        for run in set(runs) & set(self._runs()):
            self.forget(run)

    def _runs(self) -> list[str]:
        return sorted(path.name for path in (self._directory / "runs").glob("*"))

    async def fetch(self, files: Iterable[common_pb2.File], folder: Path | None = None) -> list[Path]:
        """Files by digest into the node's cache, verified; copied under their own names where a folder is given."""
        paths = []
        for entry in file_entries(files):
            cached = await self._cached(Digest(entry.digest), entry.size)
            if folder is not None:
                target = folder / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                await asyncio.to_thread(shutil.copyfile, cached, target)  # of a model: heartbeats go on
                cached = target
            paths.append(cached)
        return paths

    async def _cached(self, digest: Digest, size: int) -> Path:
        if found := await asyncio.to_thread(self._cache.take, digest):
            return found
        await asyncio.to_thread(self._cache.make_room, size)
        await _again(blobs.download, self._channel, digest, size, self._cache.path(digest))
        return await asyncio.to_thread(self._cache.use, digest)

    async def upload(self, paths: Iterable[Path]) -> list[common_pb2.File]:
        files = []
        for path in paths:
            digest = await _again(blobs.write, self._channel, path)
            files.append(common_pb2.File(path=path.name, digest=digest, size=path.stat().st_size))
        return files


async def _again(function: Callable[..., Any], *arguments: Any) -> Any:
    """A hub that restarts is waited for: work goes on meanwhile. A damaged transfer is repeated once."""
    pause, end, damaged = 0.5, time.monotonic() + HUB_AWAY, False
    while True:
        try:
            return await asyncio.to_thread(function, *arguments)
        except Unavailable as problem:
            if time.monotonic() > end:
                raise
            _log.warning("a transfer is tried again: %s", problem.what)
        except Corrupt:
            if damaged:
                raise
            damaged = True
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
