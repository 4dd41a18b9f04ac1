"""The process that evaluates: long-lived, imports once, and forks a confined child for every model and suite.

`python -m hub.evaluation.worker`, with a socket to the hub as standard input. The child gives up all it does not need
(`sandbox.confine`), then reads the suite from the file that came with the job, and says what it found through a pipe of its
own; this process never looks at a suite, and passes on at most `MAX_OUTPUT` bytes. lm-eval runs through its Python API; its
caches, YAML and task index are never touched.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hub.evaluation.messages import Conclusion, Ended, Job, Ready, Standing, Start
from hub.evaluation.reasons import KILLED, MEMORY, OUTPUT, TIME, UNLOADABLE
from hub.evaluation.sandbox.confine import Bounds, confine
from hub.evaluation.sandbox.layers import lacking, refusal
from hub.evaluation.sandbox.limits import Most
from hub.guard import die_with_parent
from protos.documents.base import Document

MAX_OUTPUT = 64 << 20
MAX_LINE = 1 << 20
REHEARSAL_SECONDS = 120
_CHUNK = 1 << 16
_NO_MEMORY = re.compile(
    "(can't|cannot) allocate memory|not enough memory|out of memory", re.IGNORECASE
)  # torch's words


def main() -> None:
    die_with_parent()
    _forget_the_environment()
    os.dup2(2, 1)  # whatever libraries print goes to the log
    hub = socket.socket(fileno=os.dup(0))
    start = Start.model_validate_json(_line(hub)[0])
    _say(hub, Standing.model_validate_json(_fork(lambda: [_rehearse(start)], REHEARSAL_SECONDS).output))
    _import()
    ready = Ready.model_validate_json(_fork(lambda: [_tools()], REHEARSAL_SECONDS).output)
    _say(hub, ready)
    while True:
        line, files = _line(hub)
        if not line:
            return
        job = Job.model_validate_json(line)
        child = _fork(lambda job=job, files=files: _do(job, files, start, ready), job.seconds, files)  # type: ignore[misc]
        for file in files:
            os.close(file)
        _say(hub, Ended(suite=job.suite, size=len(child.output), why=child.why))
        hub.sendall(child.output)


def _forget_the_environment() -> None:
    """Overwrite what this process was started with, which /proc/PID/environ shows of it and of every child (proc(5)).

    Libraries still find what they ask for: `putenv` copies it elsewhere, and a child clears that.
    """
    for name, value in os.environ.items():
        os.putenv(name, value)
    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[47:49])
    ctypes.memset(start, 0, end - start)


def _import() -> None:
    """All that a child needs: what is imported before the fork is imported once."""
    import transformers.models.llama.modeling_llama

    import hub.evaluation.scorer

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    _ = (transformers.LlamaForCausalLM, transformers.PreTrainedTokenizerFast, hub.evaluation.scorer)


class Child:
    """A forked process: what it said, and how it was cut short if it was."""

    def __init__(self, output: bytes, why: str) -> None:
        self.output, self.why = output, why


def _fork(work: Callable[[], Iterator[Document] | list[Document]], seconds: float, files: Sequence[int] = ()) -> Child:
    """Run `work` in a child of its own, whose lines are collected until it ends or has had `seconds`. It gets `files`."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        _be_child(work, writing, files)
    os.close(writing)
    output, why = _collect(reading, time.monotonic() + seconds)
    os.close(reading)
    os.kill(process, signal.SIGKILL)  # it has ended, or has to
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if why == TIME or code == -signal.SIGXCPU:
        why = f"{TIME} ({seconds:.0f} seconds)"
    elif not why and not output.endswith(b"\n"):
        why = _end(code)
    return Child(b"" if why else output, why)


def _end(code: int) -> str:
    """How a child ended that had not said all."""
    if code == -signal.SIGKILL:
        return KILLED
    return f"it was killed by signal {-code}" if code < 0 else f"it ended with code {code}"


def _be_child(work: Callable[[], Iterator[Document] | list[Document]], writing: int, files: Sequence[int]) -> None:
    code = 1
    try:
        die_with_parent()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        _close_all_but({0, 1, 2, writing, *files})
        os.environ.clear()
        with os.fdopen(writing, "wb") as pipe:
            for word in work():
                pipe.write(word.model_dump_json(exclude_none=True).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _close_all_but(kept: set[int]) -> None:
    """Above all the way to the hub: what is said there counts as the worker's own word."""
    low = 0
    for descriptor in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
        if low < descriptor:  # an empty range at 0 would end at -1, which is all of them
            os.closerange(low, descriptor)
        low = descriptor + 1


def _collect(reading: int, deadline: float) -> tuple[bytes, str]:
    """What comes before the pipe is closed, and why no more was waited for."""
    output = bytearray()
    waiting = select.poll()  # select() itself knows no descriptor past 1,023
    waiting.register(reading, select.POLLIN)
    while True:
        ready = waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            return b"", TIME
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            return bytes(output), ""
        output += chunk
        if len(output) > MAX_OUTPUT:
            return b"", f"{OUTPUT} ({MAX_OUTPUT} bytes)"


def _rehearse(start: Start) -> Standing:
    """What a child is confined by."""
    return Standing(layers=tuple(sorted(confine(_bounds(start, (), 600, cuda=False)))))


def _tools() -> Ready:
    """What a child computes with. Asked in a child: CUDA, once started, survives no fork."""
    import torch

    from hub.evaluation.scorer import harness

    return Ready(harness=harness(), cuda=torch.cuda.is_available())


def _do(job: Job, files: list[int], start: Start, ready: Ready) -> Iterator[Document]:
    """Confined: load the model, read the suite, score."""
    from hub.evaluation.scorer import Scorer

    standing = confine(_bounds(start, (Path(job.folder),), job.seconds, cuda=ready.cuda))
    failure = ""
    try:
        if missing := lacking(job.demands, standing):
            raise RuntimeError(refusal(missing))
        with os.fdopen(files[0], "rb") as file:
            suite = {part.path: file.read(part.size) for part in job.parts}
        try:
            scorer = Scorer(Path(job.folder))
        except Exception as error:
            raise RuntimeError(f"{UNLOADABLE}: {_sentence(error)}") from None
        yield from scorer.evaluate(suite, job.name)
    except Exception as error:
        failure = _reason(error)
    yield Conclusion(failure=failure)


def _bounds(start: Start, readable: tuple[Path, ...], seconds: int, *, cuda: bool) -> Bounds:
    processors = os.cpu_count() or 1
    most = Most(start.memory, max(1, seconds) * processors, addresses=not cuda)
    return Bounds(Path(start.marker), start.network, readable, most)


def _line(hub: socket.socket) -> tuple[bytes, list[int]]:
    """The next line and the files that came with it; no line when the hub has gone."""
    line, files = bytearray(), []
    while not line.endswith(b"\n"):
        data, came, _, _ = socket.recv_fds(hub, MAX_LINE, 8)
        files += came
        if not data or len(line) + len(data) > MAX_LINE:
            return b"", files
        line += data
    return bytes(line), files


def _say(hub: socket.socket, word: Document) -> None:
    hub.sendall(word.model_dump_json().encode() + b"\n")


def _reason(error: Exception) -> str:
    """What the child tells of its failure: our own words, a lack of memory, or what a library says."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return MEMORY
    return str(error)[:1500] if type(error) is RuntimeError else _sentence(error)


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]


if __name__ == "__main__":
    main()
