"""The worker in its sandbox: it scores behind every layer, and where a layer is taken away it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from hub.evaluation import outputs
from hub.evaluation.process import Output, Sandbox, Unsafe, WorkerProcess
from hub.evaluation.reasons import KILLED, MEMORY, TIME
from hub.evaluation.sandbox import bubblewrap, cgroups
from hub.evaluation.sandbox.confine import Bounds, confine
from hub.evaluation.sandbox.limits import Most
from hub.evaluation.worker import _fork, _reason
from hub.settings import SANDBOX
from protos.documents.base import Document
from protos.documents.suite_files import read_suite, task_rows
from tests.hub.evaluation.conftest import CHOICE, HERE, suite_files
from tests.hub.evaluation.sandbox.probing import needs_bubblewrap, needs_landlock
from trust.errors import Corrupt, Unavailable

pytestmark = pytest.mark.system
NAME = "law-institute/law-exam@0123456789ab"
HOUSE = Path(__file__).parents[4]

REFUSE = (
    "import hub.evaluation.sandbox.{0} as layer\ndef no(*words, **more): raise OSError('none here')\nlayer.{1} = no\n"
)
SABOTAGE = {
    "landlock": REFUSE.format("landlock", "restrict"),
    "seccomp": REFUSE.format("seccomp", "install"),
    "limits": REFUSE.format("limits", "apply"),
    "quietly": "import hub.evaluation.sandbox.seccomp as layer\ndef install(): pass\nlayer.install = install\n",
}
"""Code that stands in a worker's way before it starts, as a kernel without the layer would."""


@asynccontextmanager
async def worker(folder: Path, model: Path, demands: tuple[str, ...] = HERE) -> AsyncIterator[WorkerProcess]:
    sandbox = Sandbox(folder, folder / "evaluation", demands)
    shutil.copytree(model, sandbox.models / "tiny-1", dirs_exist_ok=True)
    found = WorkerProcess(sandbox)
    try:
        yield found
    finally:
        await found.stop()


async def ask(worker: WorkerProcess, folder: Path, files: dict[str, bytes] | None = None, seconds: int = 60) -> Output:
    models = folder / "evaluation" / "models"
    return await worker.ask("tiny-1", models / "tiny-1", "suite-1", NAME, files or suite_files(), seconds)


def sabotage(folder: Path, monkeypatch: pytest.MonkeyPatch, *layers: str) -> None:
    """Take layers away from the worker that will be started."""
    models = folder / "evaluation" / "models"
    models.mkdir(parents=True)
    for layer in layers:
        if layer == "namespaces":
            monkeypatch.setattr(bubblewrap, "program", lambda: None)
        if layer == "network":
            monkeypatch.setattr(bubblewrap, "wrapped", _sharing_the_network)
    code = "".join(SABOTAGE.get(layer, "") for layer in layers)
    (models / "sitecustomize.py").write_text(code)
    monkeypatch.syspath_prepend(str(models))


_wrapped = bubblewrap.wrapped


def _sharing_the_network(*words: Any, **more: Any) -> list[str]:
    program, everything, *rest = _wrapped(*words, **more)
    return [program, everything, "--share-net", *rest]


def believed(output: Output) -> outputs.Evaluated:
    suite = read_suite(suite_files())
    items = {task.name: len(task_rows(task, suite_files()[task.data])) for task in suite.tasks}
    return outputs.read(output.lines, suite, items)


@needs_landlock
@needs_bubblewrap
async def test_it_scores_behind_every_layer_and_stays_warm(tmp_path: Path, model_folder: Path) -> None:
    async with worker(tmp_path, model_folder) as one:
        first = await ask(one, tmp_path)
        process = one._process
        second = await ask(one, tmp_path)
        assert one._process is process
        assert one.layers >= {"namespaces", "network", "landlock", "seccomp", "limits"}
    assert believed(first).scores == believed(second).scores
    assert believed(first).scores[0].task == "terms"


@needs_landlock
@needs_bubblewrap
@pytest.mark.parametrize("layer", SANDBOX)
async def test_without_any_one_of_its_layers_it_refuses(
    layer: str, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(tmp_path, monkeypatch, layer)
    async with worker(tmp_path, model_folder, SANDBOX) as one:
        with pytest.raises(Unsafe, match=f"sandbox lacks {layer}; an operator who can do without"):
            await ask(one, tmp_path)
        assert one._process is None


async def test_a_layer_that_says_it_stands_and_does_not_is_found_out(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(tmp_path, monkeypatch, "quietly")
    async with worker(tmp_path, model_folder) as one:
        with pytest.raises(Unsafe, match="seccomp"):
            await ask(one, tmp_path)


async def test_where_there_are_no_namespaces_an_operator_may_do_with_less(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(tmp_path, monkeypatch, "namespaces")
    fewer = ("namespaces|landlock", "network|seccomp", "seccomp", "limits")
    async with worker(tmp_path, model_folder, fewer) as one:
        assert believed(await ask(one, tmp_path)).scores
        assert "namespaces" not in one.layers
    (tmp_path / "evaluation" / "models" / "sitecustomize.py").write_text(SABOTAGE["landlock"])
    async with worker(tmp_path, model_folder, fewer) as one:
        with pytest.raises(Unsafe, match="namespaces or landlock"):
            await ask(one, tmp_path)


@needs_landlock
def test_landlock_does_not_count_where_it_leaves_the_hubs_folder_open(tmp_path: Path) -> None:
    """A hub whose folder lies in Python's own, which every child must read."""

    class Found(Document):
        layers: list[str]

    def look(marker: Path) -> list[Document]:
        return [Found(layers=sorted(confine(Bounds(marker, "", (), Most(64 << 30, 60)))))]

    inside = Path(sys.prefix) / "pyvenv.cfg"
    (tmp_path / "marker").touch()
    assert "landlock" in Found.model_validate_json(_fork(lambda: look(tmp_path / "marker"), 60).output).layers
    assert "landlock" not in Found.model_validate_json(_fork(lambda: look(inside), 60).output).layers


async def test_an_operator_may_demand_more(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "nothing")
    async with worker(tmp_path, model_folder, ("cgroup",)) as one:
        with pytest.raises(Unsafe, match="cgroup"):
            await ask(one, tmp_path)


async def test_a_child_that_is_not_confined_as_demanded_does_not_read_the_suite(
    tmp_path: Path, model_folder: Path
) -> None:
    """The hub asks once when the worker starts; every child asks again."""
    async with worker(tmp_path, model_folder, ()) as one:
        await one.start()
        one._sandbox = Sandbox(tmp_path, tmp_path / "evaluation", ("namespaces", "nothing-like-it"))
        one.layers = frozenset({"namespaces", "nothing-like-it"})
        output = await ask(one, tmp_path)
    assert "sandbox lacks nothing-like-it" in believed(output).failure


async def test_what_goes_wrong_is_said_and_the_worker_lives_on(tmp_path: Path, model_folder: Path) -> None:
    async with worker(tmp_path, model_folder) as one:
        assert (await ask(one, tmp_path, seconds=0)).why == f"{TIME} (0 seconds)"
        process = one._process
        broken = await ask(one, tmp_path, {**suite_files(), "terms.jsonl": b"[]\n"})
        assert "line 1" in believed(broken).failure
        shutil.rmtree(tmp_path / "evaluation" / "models" / "tiny-1")
        gone = await ask(one, tmp_path)
        assert "could not be loaded" in believed(gone).failure
        assert one._process is process


@pytest.mark.parametrize(
    ("signalled", "why"),
    [(signal.SIGKILL, KILLED), (signal.SIGXCPU, TIME), (signal.SIGSEGV, "it was killed by signal")],
)
def test_how_a_child_was_cut_short_is_told_apart(signalled: signal.Signals, why: str) -> None:
    """The kernel kills for memory with SIGKILL, and for seconds of the processor with SIGXCPU."""

    def die() -> list[Document]:
        os.kill(os.getpid(), signalled)
        return []

    assert _fork(die, 60).why.startswith(why)


def test_a_lack_of_memory_is_known_by_whoever_reports_it() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(1 << 58)
    assert _reason(found.value) == _reason(MemoryError()) == MEMORY
    assert _reason(RuntimeError("the sandbox lacks seccomp")) == "the sandbox lacks seccomp"
    assert _reason(ValueError("no number")) == "ValueError: no number"


def test_what_a_worker_was_started_with_is_nowhere_to_be_read() -> None:
    """Neither by a child's libraries, nor in what the kernel shows of child and worker; the worker's libraries find theirs."""
    program = """
import ctypes, json, os
from hub.evaluation.worker import _forget_the_environment
_forget_the_environment()
get = ctypes.CDLL(None).getenv
get.restype = ctypes.c_char_p
shown = lambda: open("/proc/self/environ", "rb").read().strip(b"\\0").decode()
print(json.dumps([shown(), os.environ["HOME"], get(b"HOME").decode()]), flush=True)
if not os.fork():
    os.environ.clear()
    print(json.dumps([shown(), str(get(b"HOME"))]), flush=True)
    os._exit(0)
os.wait()
"""
    environment = {"HOME": "/root/secret", "PYTHONPATH": str(HOUSE), "PATH": "/usr/bin"}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    worker, child = map(json.loads, said.splitlines())
    assert worker == ["", "/root/secret", "/root/secret"]
    assert child == ["", "None"]


def test_a_child_has_no_descriptor_but_its_own() -> None:
    """On the worker's socket it could answer in the worker's name, for suites that are not its own."""

    class Open(Document):
        numbers: list[int]

    def look() -> list[Document]:
        return [
            Open(numbers=[n for n in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{n}")])
        ]

    ours, theirs = socket.socketpair()
    suite = os.memfd_create("suite")
    with ours, theirs:
        child = _fork(look, 60, (suite,))
    os.close(suite)
    found = Open.model_validate_json(child.output).numbers
    assert suite in found
    assert not {ours.fileno(), theirs.fileno()} & set(found)
    assert len([number for number in found if number > 2]) == 2, "the pipe to the worker and the suite"


async def test_a_worker_that_cannot_start_says_where_to_look(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerProcess, "_command", lambda self, cgroups: ["/bin/false"])
    async with worker(tmp_path, model_folder) as one:
        with pytest.raises(Unavailable, match=r"worker\.log"):
            await ask(one, tmp_path)


def sample(item: int, **more: object) -> bytes:
    values = {"task": "terms", "item": item, "log_likelihoods": [-1.0, -2.0], "lengths": [1, 1], "answer": 0}
    return json.dumps({**values, **more}).encode() + b"\n"


END = b'{"failure": ""}\n'


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"not json\n",
        sample(0) + sample(1),
        sample(0) + END,
        sample(0) + sample(0) + END,
        sample(1) + sample(0) + END,
        sample(0) + sample(1) + sample(2) + END,
        sample(0) + sample(1, task="other") + END,
        sample(0) + sample(1, secret="the rows of another suite") + END,
        sample(0) + sample(1, answer=7) + END,
        sample(0) + sample(1, log_likelihoods=[]) + END,
        sample(0) + sample(1, log_likelihoods=[0.5, -2.0]) + END,
        sample(0) + sample(1, log_likelihoods=[-1e300, -2.0]) + END,
        sample(0) + sample(1, lengths=[-1, 1]) + END,
        sample(0)
        + b'{"task": "terms", "item": 1, "log_likelihoods": [NaN, 1], "lengths": [1, 1], "answer": 0}\n'
        + END,
        sample(0) + sample(1) + b'{"failure": "", "more": 1}\n',
    ],
)
def test_only_a_log_of_just_the_suites_items_is_believed(lines: bytes) -> None:
    suite = read_suite(suite_files(tasks=[{"name": "terms", "data": "terms.jsonl", **CHOICE}]))
    assert outputs.read(sample(0) + sample(1) + END, suite, {"terms": 2}).scores
    with pytest.raises(Corrupt):
        outputs.read(lines, suite, {"terms": 2})
