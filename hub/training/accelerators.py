"""The accelerators of this machine, whoever made them: by NVML where its Python binding is installed, else by what the drivers'
own command or the kernel's files say. Imports no torch: that takes seconds.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KFD = Path("/sys/class/kfd/kfd/topology/nodes")
_NO_GRAPHICS_VERSION = "0"  # of a node that is a processor


@dataclass(frozen=True)
class Found:
    """`memory` in bytes; `domain` are the accelerators that its fast links reach, where that is more than this machine's;
    `trouble` is why it should not be used.
    """

    kind: str
    memory: int
    domain: str = ""
    trouble: str = ""


def accelerators() -> list[Found]:
    """Empty where there are none, or none that can be asked."""
    return watched() or _by_nvidia_smi() or by_kfd(KFD)


def watched() -> list[Found]:
    """Those that can be asked at every heartbeat whether they are well."""
    with suppress(ImportError):
        return by_nvml(importlib.import_module("pynvml"))
    return []


def by_nvml(nvml: Any) -> list[Found]:
    """As NVIDIA's library tells; empty without its driver."""
    with suppress(nvml.NVMLError), _initialised(nvml):
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return [
            Found(
                _text(nvml.nvmlDeviceGetName(handle)),
                int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                _domain(nvml, handle),
                _trouble(nvml, handle),
            )
            for handle in handles
        ]
    return []


@contextmanager
def _initialised(nvml: Any) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _domain(nvml: Any, handle: Any) -> str:
    """The NVLink partition of a rack-wide fabric: the cluster's identifier and the clique within it."""
    with suppress(nvml.NVMLError, AttributeError):
        info = nvml.c_nvmlGpuFabricInfo_t()
        nvml.nvmlDeviceGetGpuFabricInfo(handle, info)
        cluster = bytes(info.clusterUuid).hex()
        return f"{cluster}.{info.cliqueId}" if int(cluster, 16) else ""
    return ""


def _trouble(nvml: Any, handle: Any) -> str:
    """Memory that could not be mended, or will be only after a reset."""
    with suppress(nvml.NVMLError, AttributeError):
        _, _, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
        if failed:
            return "has memory that cannot be remapped"
        if pending:
            return "must be reset: memory waits to be remapped"
    return ""


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _by_nvidia_smi() -> list[Found]:
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = [line.rsplit(",", 1) for line in answer.stdout.splitlines() if "," in line]
    return [Found(kind.strip(), int(mib) << 20) for kind, mib in found if mib.strip().isdigit()]


def by_kfd(nodes: Path) -> list[Found]:
    """As AMD's driver tells in the kernel's files: each accelerator is a node with a graphics version, such as gfx942."""
    found = []
    for node in sorted(nodes.glob("[0-9]*"), key=lambda path: int(path.name)):
        properties = _properties(node / "properties")
        version = properties.get("gfx_target_version", _NO_GRAPHICS_VERSION)
        if version == _NO_GRAPHICS_VERSION:
            continue
        banks = (_properties(path) for path in sorted(node.glob("mem_banks/*/properties")))
        memory = sum(int(bank.get("size_in_bytes", 0)) for bank in banks)
        found.append(Found(f"AMD {graphics(int(version))}", memory))
    return found


def graphics(version: int) -> str:
    """90402 is gfx942: major, minor, and stepping in hexadecimal."""
    return f"gfx{version // 10_000}{version // 100 % 100:x}{version % 100:x}"


def _properties(path: Path) -> dict[str, str]:
    """Lines of a name and a number."""
    with suppress(OSError):
        return dict(re.findall(r"^(\w+) (\d+)$", path.read_text(), re.MULTILINE))
    return {}
