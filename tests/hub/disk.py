"""A disk that fails: the operating system's calls under one directory are counted, the n-th raises what the test wants,
and a power cut takes away what was not flushed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CALLS = ("open", "write", "fsync", "fdatasync", "rename", "mkdir")


class Killed(BaseException):
    """The process is gone: no handler of ours may run on."""


class Disk:
    """What of a directory would survive a power cut now: names whose folder was flushed, bytes whose file was."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._real = {name: getattr(os, name) for name in CALLS}
        self._fresh: set[str] = set()  # names that are not durable
        self._dirty: set[str] = set()  # files whose bytes are not durable
        self._replaced: dict[str, bytes] = {}  # what a rename that is not durable has replaced
        self.calls = self.flushes = 0
        self._stop_at: int | None = None
        self._stop: Callable[[], object] = _kill

    @contextmanager
    def watched(self, stop_at: int | None = None, stop: Callable[[], object] | None = None) -> Iterator[None]:
        """Follow the calls. Before the one numbered `stop_at`, from 0, `stop` is called: by default it, and every call
        after it, raises `Killed`."""
        self.calls, self.flushes, self._stop_at, self._stop = 0, 0, stop_at, stop or _kill
        for name in CALLS:
            setattr(os, name, getattr(self, f"_{name}"))
        try:
            yield
        finally:
            for name, call in self._real.items():
                setattr(os, name, call)

    def cut_power(self, choose: Callable[[int], int]) -> None:
        """What was not flushed is there, or not, or in part: `choose(n)` picks one of n."""
        for path in sorted(self._fresh, key=len, reverse=True):
            if choose(2) and os.path.lexists(path):
                self._take_away(path)
        for path in sorted(self._dirty):
            if os.path.isfile(path):
                size = os.path.getsize(path)
                os.truncate(path, (0, size // 2, size)[choose(3)])
        self._fresh, self._dirty, self._replaced = set(), set(), {}

    def _take_away(self, path: str) -> None:
        if path in self._replaced:
            Path(path).write_bytes(self._replaced[path])
            self._dirty.discard(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def _tick(self, path: str) -> None:
        if path.startswith(self._directory):
            number, self.calls = self.calls, self.calls + 1
            if self._stop_at is not None and (
                number == self._stop_at or (number > self._stop_at and self._stop is _kill)
            ):
                self._stop()

    def _open(self, path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        name = os.fspath(path)
        self._tick(name)
        if flags & os.O_CREAT:
            if not os.path.lexists(name):
                self._fresh.add(name)
            self._dirty.add(name)
        return int(self._real["open"](path, flags, mode, **rest))

    def _write(self, descriptor: int, data: Any) -> int:
        self._tick(_path(descriptor))
        return int(self._real["write"](descriptor, data))

    def _fsync(self, descriptor: int) -> None:
        self._flush("fsync", descriptor)

    def _fdatasync(self, descriptor: int) -> None:
        self._flush("fdatasync", descriptor)

    def _flush(self, call: str, descriptor: int) -> None:
        path = _path(descriptor)
        self._tick(path)
        self.flushes += 1
        self._real[call](descriptor)
        self._dirty.discard(path)
        for name in [name for name in self._fresh if os.path.dirname(name) == path]:
            self._fresh.discard(name)
            self._replaced.pop(name, None)

    def _rename(self, source: Any, target: Any) -> None:
        old, new = os.fspath(source), os.fspath(target)
        self._tick(new)
        with suppress(OSError):
            self._replaced.setdefault(new, Path(new).read_bytes())
        self._real["rename"](source, target)
        if old in self._dirty:
            self._dirty.add(new)
        self._dirty.discard(old)
        self._fresh.discard(old)
        self._fresh.add(new)

    def _mkdir(self, path: Any, mode: int = 0o777, **rest: Any) -> None:
        self._tick(os.fspath(path))
        self._real["mkdir"](path, mode, **rest)
        self._fresh.add(os.fspath(path))


def fails(number: int) -> Callable[[], object]:
    """A call that fails with this errno."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def _kill() -> None:
    raise Killed


def _path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")
