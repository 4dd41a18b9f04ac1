"""The evaluation worker as the hub sees it: a child process that is asked and answers, and is replaced when it dies."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from hub.evaluation.messages import Answer, Job, Word
from hub.guard import guarded
from trust.errors import Problem, Unavailable

START_SECONDS = 180.0
MAX_LINE = 16 << 20
MAX_LOG = 1 << 20


class WorkerLost(Exception):
    """The worker died, or had to be stopped; the message says how."""


class WorkerProcess:
    """At most one child. `ask` starts it when it is not running; `harness` is what it said that it computes with."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._process: asyncio.subprocess.Process | None = None
        self.harness = ""

    async def ask(self, job: Job, seconds: float) -> AsyncGenerator[Word | Answer, None]:
        """`loaded`, then an answer per suite.

        Raises `WorkerLost` when it dies or takes longer than `seconds` for one, and
        `Unavailable` when it cannot even be started.

        Whoever stops listening early (close the iterator) takes the worker with it: its answers would go to the next job.
        """
        process = await self._running()
        done = False
        try:
            if process.stdin is not None:
                process.stdin.write(job.model_dump_json().encode() + b"\n")
                await process.stdin.drain()
            while not done:
                word = await self._hear(process, seconds)
                done = isinstance(word, Word) and bool(word.done)
                if not done:
                    yield word
        except (ConnectionError, ValueError):
            raise WorkerLost(await self._end(process)) from None
        except TimeoutError:
            raise WorkerLost(f"The evaluation took longer than {seconds:.0f} seconds.") from None
        finally:
            if not done:
                await self.stop()

    async def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        process = self._process = await self._start()
        try:
            word = await self._hear(process, START_SECONDS)
        except (ConnectionError, ValueError, TimeoutError):
            await self.stop()
            raise Unavailable(f"The evaluation worker did not start; see {self._log}.") from None
        self.harness = word.ready if isinstance(word, Word) else ""
        return process

    async def _start(self) -> asyncio.subprocess.Process:
        self._cache.mkdir(parents=True, exist_ok=True)
        keep = self._log.exists() and self._log.stat().st_size < MAX_LOG
        with self._log.open("ab" if keep else "wb") as log:
            return await asyncio.create_subprocess_exec(
                *guarded([sys.executable, "-m", "hub.evaluation.worker"]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment(),
                limit=MAX_LINE,
            )

    async def _hear(self, process: asyncio.subprocess.Process, seconds: float) -> Word | Answer:
        async with asyncio.timeout(seconds):  # wait_for of Python 3.11 loses a cancellation that comes with the answer
            line = await process.stdout.readline() if process.stdout is not None else b""
        if not line:
            raise ConnectionError
        try:
            value = json.loads(line)
            return Answer.read(value) if "suite" in value else Word.read(value)
        except (TypeError, Problem):
            raise ValueError from None

    async def _end(self, process: asyncio.subprocess.Process) -> str:
        """How the worker ended, as a sentence."""
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                code = await process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            return f"The evaluation worker {how}."
        return "The evaluation worker answered what it should not."

    @property
    def _log(self) -> Path:
        return self._cache / "worker.log"

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
            "TQDM_DISABLE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)),
            "PYTHONUNBUFFERED": "1",
        }
