"""The site's child processes: they see no keys of ours in their environment and never outlive the site."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from protos.transport.memory import REUSED

GRACE = 5.0
CHUNK = 4 << 20  # bytes of an array that Flower sends in one request; 5 MiB by itself
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
LONG_LIFE = 60.0  # seconds after which a death counts as the first again
_PR_SET_PDEATHSIG = 1
PARENT = "COALITION_PARENT"
_KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def environment(home: Path) -> dict[str, str]:
    """No network for libraries that would like to call home; Flower's own files in the member's home."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    return {
        **kept,
        **REUSED,
        PARENT: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "FLWR_HOME": str(home / "site" / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE": str(CHUNK),
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def die_with_parent() -> None:
    """Called by a child first of all: Linux kills it when the parent that named itself in the environment dies (prctl(2)).

    Not done between fork and exec (`preexec_fn`): gRPC's threads in the parent make a bare fork hang now and then.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if str(os.getppid()) != os.environ.get(PARENT, str(os.getppid())):
        os._exit(1)


class Child:
    """A module that is kept running: `tend` starts it again after its death, ever more slowly.

    Its output goes to a log in the member's home; one that `speaks` shares our standard output.
    """

    def __init__(self, name: str, arguments: Sequence[str], home: Path, *, speaks: bool = False) -> None:
        self.arguments, self._speaks = list(arguments), speaks
        self._home = home
        self._log = home / "site" / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = FIRST_PAUSE
        self._began = self._not_before = 0.0

    def tend(self) -> bool:
        """Start it if it is not running and its pause is over; whether it has just died."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._not_before:
                self._start()
            return False
        if self._process.poll() is None:
            return False
        self._process = None
        self._pause = FIRST_PAUSE if now - self._began > LONG_LIFE else min(2 * self._pause, LONGEST_PAUSE)
        self._not_before = now + self._pause
        return True

    def stop(self) -> None:
        """Ask, wait a little, then insist."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """0 while it is not running."""
        return self._process.pid if self._process else 0

    def _start(self) -> None:
        self._began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=None if self._speaks else log,
                stderr=log,
                env=environment(self._home),
                start_new_session=True,
            )
