"""What the evaluation worker needs of the machine's files: Python, this project's packages, libraries, and no more."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

PACKAGES = ("hub", "learning", "protos", "trust")
_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
_KERNEL = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
_GPU = ("/sys/bus/pci", "/sys/devices", "/proc/driver/nvidia", "/proc/devices", "/proc/modules")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def python() -> list[Path]:
    """The interpreter, its environment, and our packages."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix), Path(sys.base_exec_prefix)}
    ours = {Path(str(importlib.import_module(name).__file__)).parent for name in PACKAGES}
    if Path("/usr") in folders:  # a system's own Python: its libraries, not all of /usr
        folders -= {Path("/usr")}
        folders |= {Path("/usr/bin"), Path("/usr/local/lib")}
    return sorted(folders | ours)


def system() -> list[Path]:
    return [Path(name) for name in _SYSTEM]


def kernel() -> list[Path]:
    return [Path(name) for name in (*_KERNEL, *(_GPU if gpus() else ()))]


def devices() -> list[Path]:
    return [*map(Path, _DEVICES), *gpus()]


def gpus() -> list[Path]:
    return sorted([*Path("/dev").glob("nvidia*"), *Path("/dev").glob("nvidia-caps/*")])
