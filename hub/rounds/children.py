"""Child processes that never outlive the hub: what they may see, where their output goes, how they end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from protos.transport.memory import REUSED

GRACE = 5.0
CHUNK = 4 << 20  # bytes of an array that Flower sends in one request; 5 MiB by itself
_PR_SET_PDEATHSIG = 1
PARENT = "COALITION_PARENT"
_KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONPATH", "OMP_NUM_THREADS")


def environment(home: Path, **more: str) -> dict[str, str]:
    """No credentials of ours, no network for libraries that would like to call home; Flower's own files under `home`."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return {
        **kept,
        **REUSED,
        PARENT: str(os.getpid()),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE": str(CHUNK),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def die_with_parent() -> None:
    """Called by a child first of all: Linux kills it when the parent that named itself in the environment dies (prctl(2)).

    Not done between fork and exec (`preexec_fn`): gRPC's threads in the parent make a bare fork hang now and then.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if str(os.getppid()) != os.environ.get(PARENT, str(os.getppid())):
        os._exit(1)


async def start(
    command: Sequence[str], log: Path, variables: Mapping[str, str], *, speaks: bool = False
) -> asyncio.subprocess.Process:
    """Start a child whose output is appended to `log`; one that `speaks` has a pipe for its standard output instead."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if speaks else file,
            stderr=file,
            env=dict(variables),
            limit=1 << 20,
        )


async def stop(child: asyncio.subprocess.Process) -> None:
    """Ask, wait a little, then insist."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(GRACE):
                await child.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
    await child.wait()
