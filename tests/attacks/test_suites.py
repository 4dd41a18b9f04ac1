"""Attacks by a member's evaluation suite, and on the scores that come of one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from contributors.packing import pack_suite
from hub.evaluation import outputs
from hub.evaluation.process import Output, Sandbox, WorkerProcess
from hub.evaluation.tasks import compile_task
from learning.architectures import build_model
from learning.export import save_model
from learning.tokenizer import train_tokenizer
from protos.documents.suite import MultipleChoice
from protos.documents.suite_files import read_suite, task_rows
from tests.hub.evaluation.conftest import HERE
from tests.hub.evaluation.sandbox.probing import DENIED, PROBE, Prey, needs_bubblewrap, needs_landlock, prey
from tests.shapes import llama
from trust.errors import Invalid

NAME = "hostile-member/exam@0123456789ab"
MARK = "/tmp/coalition-pwned"  # noqa: S108
JINJA = "{{ cycler.__init__.__globals__.os.popen('touch " + MARK + "').read() }}"
TASK: dict[str, Any] = {"name": "exam", "kind": "multiple_choice", "data": "exam.jsonl", "prompt": "{text}"}
ROWS = [{"text": f"Question {i}", "choices": ["yes", "no"], "answer": i % 2} for i in range(4)]


def suite(task: Mapping[str, Any] = TASK, rows: Any = ROWS, **more: Any) -> dict[str, bytes]:
    form = {
        "format": "coalition-suite/v1",
        "name": "exam",
        "version": "1",
        "domain": "law",
        "licence": "CC-BY-4.0",
        "description": "An exam.",
        "tasks": [dict(task)],
    }
    body = "".join(json.dumps(row) + "\n" for row in rows)
    return {"suite.json": json.dumps({**form, **more}).encode(), "exam.jsonl": body.encode()}


LM_EVAL_TRICKS: dict[str, Mapping[str, bytes]] = {
    "Jinja in doc_to_text": suite({**TASK, "doc_to_text": JINJA}),
    "Jinja in doc_to_choice": suite({**TASK, "doc_to_choice": JINJA}),
    "Jinja in doc_to_target": suite({**TASK, "doc_to_target": JINJA}),
    "Jinja in description": suite({**TASK, "description": "{{ lipsum.__globals__.os.system('x') }}"}),
    "Jinja in gen_prefix": suite({**TASK, "gen_prefix": JINJA}),
    "Jinja in the prompt": suite({**TASK, "prompt": "{{ cycler.__init__.__globals__ }}"}),
    "attribute in the prompt": suite({**TASK, "prompt": "{text.__class__}"}),
    "index in the prompt": suite({**TASK, "prompt": "{text[0]}"}),
    "conversion in the prompt": suite({**TASK, "prompt": "{text!r}"}),
    "format width in the prompt": suite({**TASK, "prompt": "{text:>1000000000}"}),
    "line end in the prompt": suite({**TASK, "prompt": "{text\n}"}, [{"text\n": "x", **row} for row in ROWS]),
    "!function": suite({**TASK, "doc_to_text": "!function os.system"}),
    "process_docs": suite({**TASK, "process_docs": "!function helper.f"}),
    "process_results": suite({**TASK, "process_results": "!function helper.f"}),
    "class": suite({**TASK, "class": "!function os.system"}),
    "custom_dataset": suite({**TASK, "custom_dataset": "os.listdir"}),
    "include": suite({**TASK, "include": "/etc/other.yml"}),
    "include of the suite": suite(include="/etc/other.yml"),
    "use_prompt": suite({**TASK, "use_prompt": "evil.yaml:x"}),
    "metric script": suite({**TASK, "metric": "/home/evil/metric.py"}),
    "metric list": suite({**TASK, "metric_list": [{"metric": "/home/evil/metric.py"}]}),
    "hf_evaluate": suite({**TASK, "hf_evaluate": True}),
    "aggregation": suite({**TASK, "aggregation": "!function os.system"}),
    "filter_list": suite({**TASK, "filter_list": [{"name": "x", "filter": [{"function": "custom"}]}]}),
    "generation_kwargs": suite({**TASK, "generation_kwargs": {"custom_generate": "/evil", "trust_remote_code": True}}),
    "dataset_path": suite({**TASK, "dataset_path": "text"}),
    "data_files": suite({**TASK, "dataset_kwargs": {"data_files": "/etc/passwd"}}),
    "cache_dir": suite({**TASK, "dataset_kwargs": {"cache_dir": "/srv"}}),
    "data outside": suite({**TASK, "data": "/etc/passwd"}),
    "data above": suite({**TASK, "data": "../exam.jsonl"}),
    "unsafe_code": suite({**TASK, "unsafe_code": False}),
    "repeats": suite({**TASK, "repeats": 300_000}),
    "group": suite({**TASK, "group": "arc"}),
    "tag": suite({**TASK, "tag": "arc"}),
    "another's task": suite({**TASK, "name": "../arc_easy"}),
    "name of a loaded module": suite({**TASK, "name": "os.path"}),
    "YAML": {**suite(), "suite.json": b"task: exam\ndoc_to_text: !function os.system\n"},
    "YAML of a Python object": {**suite(), "suite.json": b"!!python/object/apply:os.system [id]\n"},
    "two of one name": {**suite(), "suite.json": b'{"format": "coalition-suite/v1", "format": "x"}'},
    "one choice": suite(rows=[{"text": "x", "choices": ["yes"], "answer": 0}]),
    "equal choices": suite(rows=[{"text": "x", "choices": ["yes", "yes"], "answer": 0}]),
    "answer by name": suite(rows=[{"text": "x", "choices": ["yes", "no"], "answer": "yes"}]),
    "a template of a billion": suite({**TASK, "prompt": "x" * 2001}),
    "a text of a mebibyte": suite(rows=[{**ROWS[0], "text": "x" * ((1 << 20) + 1)}]),
    "nested brackets": {**suite(), "exam.jsonl": b"[" * 100_000 + b"\n"},
}
"""What is known to make lm-eval 0.4.13 execute, read or write something, or to cheat, in the words of our format."""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["yes no question " * 50], 270)
    save_model(build_model(llama(len(tokenizer), 16, 32, 1, 2, 1, 512), seed=0), tokenizer, folder)
    return folder


async def run(worker: WorkerProcess, folder: Path, files: Mapping[str, bytes], seconds: int = 60) -> Output:
    return await worker.ask("tiny-1", folder / "evaluation" / "models" / "tiny-1", "suite-1", NAME, files, seconds)


def sandboxed(folder: Path, model: Path) -> WorkerProcess:
    sandbox = Sandbox(folder, folder / "evaluation", HERE)
    shutil.copytree(model, sandbox.models / "tiny-1")
    return WorkerProcess(sandbox)


def failure(output: Output) -> str:
    return str(json.loads(output.lines.splitlines()[-1])["failure"])


@pytest.mark.parametrize("trick", LM_EVAL_TRICKS)
def test_attack_01_a_suite_has_no_word_for_code(trick: str, tmp_path: Path) -> None:
    """A task file runs code through Jinja (`cycler.__init__.__globals__.os`) -> refused by the compiler, at the member's
    and at the hub's."""
    files = LM_EVAL_TRICKS[trick]
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    with pytest.raises(Invalid):
        pack_suite(tmp_path)
    with pytest.raises(Invalid):
        [task_rows(task, files[task.data]) for task in read_suite(files).tasks]


@pytest.mark.system
async def test_attack_02_what_is_smuggled_to_the_worker_does_nothing(tmp_path: Path, model_folder: Path) -> None:
    """`!function`, includes, dataset scripts, metrics by path: past the intake they meet the same closed format in the
    sandbox, fail with a reason, and leave nothing behind. In rows, the same words are only text."""
    worker = sandboxed(tmp_path, model_folder)
    inert = [{"text": f"{JINJA} !function os.system", "choices": [JINJA, "{text}"], "answer": i % 2} for i in range(4)]
    try:
        for trick, files in LM_EVAL_TRICKS.items():
            assert failure(await run(worker, tmp_path, files)), trick
        good = await run(worker, tmp_path, suite(rows=inert))
    finally:
        await worker.stop()
    assert outputs.read(good.lines, read_suite(suite()), {"exam": 4}).scores[0].items == 4
    assert not Path(MARK).exists()


def test_attack_20_no_suite_can_take_anothers_name() -> None:
    """A suite calls its task `arc_easy` -> its name in the harness is its member's, its suite's and its digest's."""
    task = MultipleChoice.read({**TASK, "name": "arc_easy"})
    compiled = compile_task(task, ROWS, f"{NAME}:{task.name}")
    assert compiled.config.task == "hostile-member/exam@0123456789ab:arc_easy"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Prey]:
    with prey(tmp_path) as found:
        yield found


HIJACK = """
import errno, json, sys
import protos.documents.suite_files as target
sys.path.insert(0, {folder!r})
import probe
def read_suite(files):
    raise RuntimeError(json.dumps({{name: probe.attempt(act) for name, act in probe.acts({facts!r}).items()}}))
target.read_suite = read_suite
"""
"""As if a suite had found a hole in whatever reads it: its code runs where suites are read, with the probe's acts."""


async def hijacked(machine: Prey, model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What code inside the child that evaluates can do."""
    shutil.copy(PROBE, machine.shown / "probe.py")
    (machine.shown / "sitecustomize.py").write_text(HIJACK.format(folder=str(machine.shown), facts=machine.facts))
    monkeypatch.syspath_prepend(str(machine.shown))
    worker = sandboxed(machine.hidden, model)
    try:
        output = await run(worker, machine.hidden, suite())
    finally:
        await worker.stop()
    found: dict[str, str] = json.loads(failure(output))
    if found["UDP"] == "done" and not machine.heard():
        found["UDP"] = "ENETUNREACH"
    return found


@needs_landlock
@pytest.mark.system
async def test_attack_21_a_suite_that_runs_code_reads_nothing(
    machine: Prey, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads /etc/passwd, folders, secrets in the environment, the hub's keys, other suites -> denied; the environment is
    empty. (Attacks 22 and 23 in the same breath: a worker takes seconds to start.)"""
    found = await hijacked(machine, model_folder, monkeypatch)
    reads = {"passwd", "hub's key", "another's suite", "list folder", "hub's environment", "own environment"}
    assert {act for act in reads if found[act] not in DENIED} == set()
    everything = found.keys() - {"threads"}
    assert {act: found[act] for act in everything if found[act] not in DENIED} == {}


@needs_bubblewrap
def test_attack_22_a_suite_that_runs_code_sends_nothing(machine: Prey) -> None:
    """It sends by TCP, UDP, DNS, an abstract socket -> denied by seccomp alone, and by the network namespace alone. What it
    answers is capped and of a closed schema (tests/hub/evaluation/sandbox/test_worker.py)."""
    ways = {"TCP", "UDP", "DNS", "abstract socket", "socket file"}
    for layer in ("seccomp", "namespaces"):
        found = machine.probe(layer)
        assert {way for way in ways if found[way] not in DENIED} == set(), layer


@pytest.mark.system
async def test_attack_23_a_suite_that_eats_resources_is_stopped(
    machine: Prey, tmp_path: Path, model_folder: Path
) -> None:
    """Fork bomb, 100 GiB, a full disk -> denied; patterns of exponential effort -> linear; a suite without an end -> killed
    at its limit, with a reason, while the worker goes on."""
    found = machine.probe("limits", "seccomp")
    assert {act for act in ("fork", "100 GiB", "fill disk") if found[act] not in DENIED} == set()
    worker = sandboxed(tmp_path / "own", model_folder)
    check = {"how": "regex", "pattern": r"^(([\w\W])+)+@@$"}
    slow = {**TASK, "kind": "generation", "max_tokens": 32, "stop": [], "check": check}
    try:
        assert not failure(await run(worker, tmp_path / "own", suite(slow)))
        endless = await run(worker, tmp_path / "own", suite(), seconds=0)
        assert endless.why == "resource: it took longer than it may (0 seconds)"
        assert not failure(await run(worker, tmp_path / "own", suite()))
    finally:
        await worker.stop()
