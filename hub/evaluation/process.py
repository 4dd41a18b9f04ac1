"""The evaluation worker as the hub sees it: a child process that is asked and answers, and is replaced when it dies."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hub.guard import guarded
from trust.errors import Unavailable

START_SECONDS = 180.0
MAX_ANSWER = 16 << 20


class WorkerProcess:
    """At most one child. `ask` starts it when it is not running."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: Mapping[str, Any], seconds: float) -> AsyncIterator[dict[str, Any]]:
        """The answers, one per suite. Raises `Unavailable` when the worker dies or a suite takes longer than `seconds`."""
        process = await self._running()
        try:
            if process.stdin is not None:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                await process.stdin.drain()
            while "done" not in (answer := await self._answer(process, seconds)):
                yield answer
        except (OSError, TimeoutError):
            await self.stop()
            raise Unavailable("The evaluation worker died or took too long.") from None

    async def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "worker.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *guarded([sys.executable, "-m", "hub.evaluation.worker"]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment(),
                limit=MAX_ANSWER,
            )
        self._process = process
        try:
            await self._answer(process, START_SECONDS)
        except (OSError, TimeoutError):
            await self.stop()
            raise Unavailable(f"The evaluation worker did not start; see {self._cache / 'worker.log'}.") from None
        return process

    async def _answer(self, process: asyncio.subprocess.Process, seconds: float) -> dict[str, Any]:
        line = await asyncio.wait_for(process.stdout.readline(), seconds) if process.stdout is not None else b""
        if not line:
            raise OSError("the worker is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _environment(self) -> dict[str, str]:
        """No credentials, no network for libraries that would like to call home, their caches in our own folder."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR") if key in os.environ}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(self._cache),
            "HF_HOME": str(self._cache / "hf"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_EVALUATE_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)),
            "PYTHONUNBUFFERED": "1",
        }
