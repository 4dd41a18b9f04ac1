"""The evaluation worker as the hub sees it: a confined process that is asked and answers, and is replaced when it dies."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.evaluation.messages import Ended, Job, Part, Ready, Standing, Start
from hub.evaluation.reasons import TIME
from hub.evaluation.sandbox import bubblewrap, enter
from hub.evaluation.sandbox.cgroups import Cgroups
from hub.evaluation.sandbox.layers import lacking, refusal
from hub.evaluation.worker import MAX_LINE, MAX_OUTPUT
from hub.guard import guarded
from hub.settings import Settings
from protos.documents.base import Document
from trust.errors import Unavailable

START_SECONDS = 180.0
GRACE = 30.0
MAX_LOG = 1 << 20
MEMORY_SHARE = 0.75


class WorkerLost(Exception):
    """The worker died, or had to be stopped; the message says how."""


class Unsafe(Unavailable):
    """The sandbox lacks a layer that the settings demand: nothing is evaluated."""


@dataclass(frozen=True)
class Sandbox:
    """`hidden` is the hub's folder, of which the worker sees `models` alone; `demands` are the layers that must stand."""

    hidden: Path
    cache: Path
    demands: tuple[str, ...]
    memory: int = 0

    @property
    def models(self) -> Path:
        return self.cache / "models"

    @property
    def log(self) -> Path:
        return self.cache / "worker.log"


@dataclass(frozen=True)
class Output:
    """What a child said (`lines`), or how it was cut short; `seconds` by the hub's clock."""

    lines: bytes
    why: str
    seconds: float


class WorkerProcess:
    """At most one child. `ask` starts it when it is not running; `harness` is what it said that it computes with."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None  # keeps the connection that is read from
        self._cgroups: Cgroups | None = None
        self.harness = ""
        self.layers: frozenset[str] = frozenset()

    async def ask(
        self, model: str, folder: Path, suite: str, name: str, files: Mapping[str, bytes], seconds: int
    ) -> Output:
        """One model under one suite. The suite's bytes are handed over in memory, and lie on no disk.

        Raises `WorkerLost` when the worker dies, `Unsafe` when a demanded layer does not stand, `Unavailable` when it cannot
        be started.
        """
        await self.start()
        began = time.monotonic()
        parts = tuple(Part(path=path, size=len(body)) for path, body in files.items())
        job = Job(
            model=model,
            folder=str(folder),
            suite=suite,
            name=name,
            parts=parts,
            seconds=seconds,
            demands=tuple(demand for demand in self._sandbox.demands if "cgroup" not in demand.split("|")),
        )
        try:
            await asyncio.to_thread(self._send, job, b"".join(files.values()))
            async with asyncio.timeout(seconds + GRACE):
                ended = Ended.model_validate_json(await self._reader.readuntil(b"\n"))
                if ended.suite != suite or ended.size > MAX_OUTPUT:
                    raise ValueError
                lines = await self._reader.readexactly(ended.size)
                return Output(lines, ended.why, time.monotonic() - began)
        except (ConnectionError, EOFError, ValueError, asyncio.LimitOverrunError):
            raise WorkerLost(await self._end()) from None
        except TimeoutError:  # a worker that does not stop its child is of no more use
            await self.stop()
            return Output(b"", f"{TIME} ({seconds} seconds)", time.monotonic() - began)
        except BaseException:
            await self.stop()
            raise

    async def start(self) -> None:
        """Have it running, with every layer that is demanded. Raises `Unsafe`, `Unavailable`."""
        if self._process is not None and self._process.returncode is None:
            return
        await self.stop()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._start()
        except (OSError, EOFError, ValueError, TimeoutError):
            await self.stop()
            raise Unavailable(f"The evaluation worker did not start; see {self._sandbox.log}.") from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._cgroups is not None:
            self._cgroups.remove()
            self._cgroups = None

    async def _start(self) -> None:
        self._sandbox.models.mkdir(parents=True, exist_ok=True)
        memory = self._sandbox.memory or int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * MEMORY_SHARE)
        self._cgroups = Cgroups(memory)
        ours, theirs = socket.socketpair()
        self._socket = ours
        log = self._sandbox.log
        keep = log.exists() and log.stat().st_size < MAX_LOG
        with theirs, log.open("ab" if keep else "wb") as file:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(self._cgroups),
                stdin=theirs.fileno(),
                stdout=file,
                stderr=file,
                env=_environment(),
                cwd="/",
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours.dup(), limit=MAX_LINE)
        self._say(Start(marker=str(log), network=os.readlink("/proc/self/ns/net"), memory=memory))
        standing = Standing.model_validate_json(await self._reader.readuntil(b"\n"))
        self.layers = frozenset(standing.layers) | ({"cgroup"} if self._cgroups.hold() else set())
        if missing := lacking(self._sandbox.demands, self.layers):
            raise Unsafe(refusal(missing), "See `coalition-hub sandbox` and the operator guide.")
        self.harness = Ready.model_validate_json(await self._reader.readuntil(b"\n")).harness

    def _command(self, cgroups: Cgroups) -> list[str]:
        """The worker in all that wraps it."""
        sandbox = self._sandbox
        worker = [sys.executable, "-m", "hub.evaluation.worker"]
        bwrap = bubblewrap.program()
        if bwrap is not None:
            worker = bubblewrap.wrapped(bwrap, worker, hidden=sandbox.hidden, shown=[sandbox.models])
        first = [sys.executable, "-I", "-S", enter.__file__, str(os.getpid()), "stay" if bwrap else "unshare"]
        return guarded([*first, ",".join(map(str, cgroups.folders)), *worker])

    def _say(self, word: Document) -> None:
        if self._socket is not None:
            self._socket.sendall(word.model_dump_json().encode() + b"\n")

    def _send(self, job: Job, suite: bytes) -> None:
        """The job, and the suite in a file that has no name."""
        if self._socket is None:
            raise ConnectionError
        file = os.memfd_create("suite", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(file), "wb") as body:
                body.write(suite)
            os.lseek(file, 0, os.SEEK_SET)
            socket.send_fds(self._socket, [job.model_dump_json().encode() + b"\n"], [file])
        finally:
            os.close(file)

    async def _end(self) -> str:
        """How the worker ended, as a sentence."""
        process = self._process
        try:
            if process is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        code = await process.wait()
                    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                    return f"The evaluation worker {how}."
            return "The evaluation worker answered what it should not."
        finally:
            await self.stop()


async def trial(settings: Settings) -> tuple[list[str], list[str]]:
    """The layers that stand on this machine, and the demands that are not met. Beside a hub that serves, it disturbs nothing."""
    worker = WorkerProcess(sandbox_of(settings))
    with suppress(Unsafe):
        await worker.start()
    await worker.stop()
    return sorted(worker.layers), lacking(settings.sandbox, worker.layers)


def sandbox_of(settings: Settings) -> Sandbox:
    """What a hub's settings say of it."""
    return Sandbox(settings.directory, settings.directory / "evaluation", settings.sandbox, settings.sandbox_memory)


def _environment() -> dict[str, str]:
    """No credentials, no network for libraries that would like to call home; a child clears even this."""
    kept = {key: os.environ[key] for key in ("LANG", "LD_LIBRARY_PATH") if key in os.environ}
    return {
        **kept,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking must not start CUDA, which no fork survives
        "OPENBLAS_NUM_THREADS": "1",  # its threads would not survive the fork either
        "HOME": "/nonexistent",
        "HF_HOME": "/nonexistent",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)),
        "PYTHONUNBUFFERED": "1",
    }
