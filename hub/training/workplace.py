"""A node's directory and its way to the hub's blobs."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc

from hub.training import shards
from hub.training.messages import file_entries
from protos.coalition.v1 import common_pb2, training_pb2
from protos.transport import blobs
from trust.digests import Digest, digest_file, hex_of, parse_digest
from trust.errors import Corrupt, Unavailable

HUB_AWAY = 900.0  # seconds for which a transfer is tried again while the hub is away
LONGEST_PAUSE = 5.0
PART = 1000
HEX = 64  # digits of a digest
_log = logging.getLogger(__name__)


class Workplace:
    """Layout: `blobs/HEX` (a cache), `runs/RUN/attempt-N/` (the present attempt), `runs/RUN/checkpoints/` (all attempts')."""

    def __init__(self, directory: Path, channel: grpc.Channel) -> None:
        self._directory, self._channel = directory, channel

    def reconnect(self, channel: grpc.Channel) -> None:
        """Transfers from now on take this channel; those that go on end on theirs."""
        self._channel = channel

    def attempt_folder(self, run: str, attempt: int) -> Path:
        """An empty folder for an attempt; earlier attempts' are removed."""
        for old in (self._directory / "runs" / run).glob("attempt-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = self._directory / "runs" / run / f"attempt-{attempt}"
        folder.mkdir(parents=True)
        return folder

    def checkpoints(self, run: str) -> Path:
        folder = self._directory / "runs" / run / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def register(self, run: str, step: int) -> None:
        """A run's checkpoint is in the ledger: its shard stays until newer ones are."""
        shards.register(self.checkpoints(run), step)

    def forget(self, run: str) -> None:
        """A run has ended: its checkpoints and attempts are of no more use."""
        shutil.rmtree(self._directory / "runs" / run, ignore_errors=True)

    def kept(self) -> Iterator[training_pb2.Kept]:
        """What lies in the cache, whole or in part, and the runs that have left something; in parts."""
        blobs = (path.name.lstrip(".").partition(".")[0] for path in self._cache.glob("*"))
        digests = [f"sha256:{name}" for name in sorted(set(blobs)) if len(name) == HEX]
        runs = self._runs()
        for start in range(0, max(len(digests), len(runs)), PART):
            yield training_pb2.Kept(digests=digests[start : start + PART], runs=runs[start : start + PART])

    def drop(self, digests: Iterable[str], runs: Iterable[str]) -> None:
        """Remove from the cache, and forget runs."""
        for digest in digests:
            name = hex_of(parse_digest(digest))
            for path in (self._cache / name, *self._cache.glob(f".{name}.*")):
                path.unlink(missing_ok=True)
        for run in set(runs) & set(self._runs()):
            self.forget(run)

    @property
    def _cache(self) -> Path:
        return self._directory / "blobs"

    def _runs(self) -> list[str]:
        return sorted(path.name for path in (self._directory / "runs").glob("*"))

    async def fetch(self, files: Iterable[common_pb2.File], folder: Path | None = None) -> list[Path]:
        """Files by digest into the node's cache, verified; copied under their own names where a folder is given."""
        paths = []
        for entry in file_entries(files):
            cached = self._cache / hex_of(Digest(entry.digest))
            if not cached.exists() or await asyncio.to_thread(digest_file, cached) != entry.digest:
                cached.unlink(missing_ok=True)
                await _again(blobs.download, self._channel, Digest(entry.digest), entry.size, cached)
            if folder is not None:
                target = folder / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(cached, target)
                cached = target
            paths.append(cached)
        return paths

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
