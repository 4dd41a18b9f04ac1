"""A process gives up everything but the work before it: each layer is put on, then tried, and only what held is counted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.evaluation.sandbox import files, landlock, limits, seccomp
from hub.evaluation.sandbox.limits import Most


@dataclass(frozen=True)
class Bounds:
    """`marker` is a file of the hub's that must not be seen, and `network` its network namespace; `readable` is the model."""

    marker: Path
    network: str
    readable: tuple[Path, ...]
    most: Most


def confine(bounds: Bounds) -> frozenset[str]:
    """Put on every layer that this kernel gives, and say which stand. For good, for a process with one thread."""
    standing: set[str] = set()
    if not os.path.lexists(bounds.marker):
        standing.add("namespaces")
    with suppress(OSError):
        if os.readlink("/proc/self/ns/net") != bounds.network:
            standing.add("network")
    _put_on("limits", lambda: limits.apply(bounds.most), lambda: limits.standing(bounds.most), standing)
    readable = [*files.python(), *files.system(), *files.kernel(), *bounds.readable]
    _put_on(
        "landlock",
        lambda: landlock.restrict(readable, files.devices()),
        lambda: _files_are_denied(bounds.marker),
        standing,
    )
    _put_on("seccomp", seccomp.install, _sockets_are_denied, standing)
    return frozenset(standing)


def _put_on(layer: str, put: Callable[[], None], holds: Callable[[], bool], standing: set[str]) -> None:
    with suppress(OSError, ValueError):
        put()
        if holds():
            standing.add(layer)


def _files_are_denied(marker: Path) -> bool:
    """Also the hub's own, which lie open where its folder is below one that Python needs."""
    try:
        marker.open("rb").close()
    except OSError:
        return all(map(_denied, ("/", "/proc")))
    return False


def _denied(folder: str) -> bool:
    try:
        os.listdir(folder)
    except PermissionError:
        return True
    return False


def _sockets_are_denied() -> bool:
    return all(map(_refused, (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)))


def _refused(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False
