"""What the hub adds to lm-eval, what the sandbox costs a suite, and greedy decoding: `python -m benchmarks.evaluation`.

Interleaved, medians. The peers: `simple_evaluate` of the same tasks on a model that is loaded (lm-eval's own HFLM, and ours),
the lm_eval command once per suite, the same suite scored in this process without any layer, and HFLM.generate_until.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from hub.evaluation.likelihoods import SharedPromptLM
from hub.evaluation.outputs import believe
from hub.evaluation.process import Sandbox, WorkerProcess
from hub.evaluation.scorer import Scorer
from hub.settings import SANDBOX
from learning.architectures import build_model
from learning.export import load_model, save_model
from learning.tokenizer import train_tokenizer
from protos.documents.architectures import Llama

ROUNDS = 9
SUITES, SETS = 4, 5
SHAPE = Llama(vocab_size=512, hidden_size=128, intermediate_size=256, layers=4, heads=4, kv_heads=2, context_length=512)
NAME = "law/exam@0123456789ab"


def words(seed: int, count: int) -> str:
    return " ".join(f"word{(seed * 31 + i * 7) % 97}" for i in range(count))


def make_model(folder: Path) -> None:
    tokenizer = train_tokenizer((words(seed, 300) for seed in range(50)), 500)
    save_model(build_model(SHAPE.hugging_face() | {"vocab_size": len(tokenizer)}, seed=0), tokenizer, folder)


def suite(items: int, number: int = 0) -> dict[str, bytes]:
    task = {"name": "terms", "kind": "multiple_choice", "data": "terms.jsonl", "prompt": "{text}"}
    form = {
        "format": "coalition-suite/v1",
        "name": "exam",
        "version": "1",
        "domain": "law",
        "licence": "CC-BY-4.0",
        "description": "Measured.",
        "tasks": [task],
    }
    rows = [
        {"text": words(i, 40), "choices": [words(i + j, 3) + f" {j}" for j in range(4)], "answer": i % 4}
        for i in range(number * items, (number + 1) * items)
    ]
    return {
        "suite.json": json.dumps(form).encode(),
        "terms.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    }


def as_lm_eval_has_them(folder: Path, suites: list[dict[str, bytes]]) -> list[str]:
    """The same items and prompts as lm-eval's YAML; the tasks' names."""
    names = [f"terms_{number}" for number in range(len(suites))]
    for name, files in zip(names, suites, strict=True):
        data = folder / f"{name}.jsonl"
        data.write_bytes(files["terms.jsonl"])
        form = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{text}}",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        (folder / f"{name}.yaml").write_text(json.dumps(form))  # JSON is YAML
    return names


async def whole_set(folder: Path, model: Path) -> None:
    """All suites of a model: by the hub (sandbox, scores from the log), by one bare call, and by the command for each."""
    suites = [suite(300, number) for number in range(SUITES)]
    tasks = folder / "tasks"
    tasks.mkdir(parents=True)
    names = as_lm_eval_has_them(tasks, suites)
    network, tokenizer = load_model(model)
    common = {"pretrained": network, "tokenizer": tokenizer, "batch_size": 32, "device": "cpu"}
    manager = TaskManager(include_path=str(tasks), include_defaults=False)

    def bare(lm: HFLM) -> dict[str, float]:
        found: Any = simple_evaluate(lm, tasks=names, task_manager=manager, bootstrap_iters=0, verbosity="ERROR")
        return {name: found["results"][name]["acc,none"] for name in names}

    worker = WorkerProcess(Sandbox(folder, folder / "evaluation", SANDBOX))
    target = folder / "evaluation" / "models" / "tiny-1"
    shutil.copytree(model, target)
    began = time.perf_counter()
    await worker.start()
    start = time.perf_counter() - began

    async def by_hub() -> dict[str, float]:
        scores = {}
        for name, files in zip(names, suites, strict=True):
            output = await worker.ask("tiny-1", target, f"suite-{name[-1]}", NAME, files, 600)
            scores[name] = believe(output.lines, files).scores[0].value
        return scores

    theirs, ours = HFLM(**common), SharedPromptLM(**common)
    scores = bare(theirs)  # what the first call imports counts for nobody
    assert all(abs(scores[name] - value) < 0.02 for name, value in (await by_hub()).items()), "other scores"
    times: list[tuple[float, float, float]] = []
    for _ in range(SETS):
        began = time.perf_counter()
        await by_hub()
        hub = time.perf_counter() - began
        times.append((hub, seconds(lambda: bare(theirs)), seconds(lambda: bare(ours))))
    await worker.stop()
    hub, hf, own = (median(column) for column in zip(*times, strict=True))
    print(f"{SUITES} suites of 300 items, the hub {hub:.2f} s; simple_evaluate on the loaded model {hf:.2f} s:")
    print(
        f"  overhead over lm-eval's own HFLM {100 * (hub / hf - 1):+.0f} %; over our own model class {own:.2f} s in it ",
        end="",
    )
    print(f"{100 * (hub / own - 1):+.0f} %")
    command = sum(seconds(lambda name=name: _command(model, tasks, name)) for name in names)  # type: ignore[misc]
    print(f"  the lm_eval command once per suite {command:.1f} s: {command / hub:.0f} times the hub's, ", end="")
    print(f"{command / (start + hub):.1f} times with the start of the hub's worker ({start:.1f} s, once)")


def _command(model: Path, tasks: Path, name: str) -> None:
    arguments = ["--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--tasks", name]
    arguments += ["--include_path", str(tasks), "--batch_size", "32", "--device", "cpu"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    program = [str(Path(sys.executable).parent / "lm_eval"), "run", *arguments]
    subprocess.run(program, check=True, capture_output=True, env={**os.environ, **offline})


class Request:
    def __init__(self, *args: Any) -> None:
        self.args = args


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def sandbox(folder: Path, model: Path) -> None:
    worker = WorkerProcess(Sandbox(folder, folder / "evaluation", SANDBOX))
    target = folder / "evaluation" / "models" / "tiny-1"
    shutil.copytree(model, target)
    started = time.perf_counter()
    await worker.start()
    print(
        f"sandboxed worker ready after {time.perf_counter() - started:.1f} s, once; layers: {', '.join(sorted(worker.layers))}"
    )
    for items in (10, 300):
        files = suite(items)
        inside, outside = [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            output = await worker.ask("tiny-1", target, "suite-1", NAME, files, 600)
            inside.append(time.perf_counter() - began)
            assert not output.why
            outside.append(seconds(lambda files=files: Scorer(model).evaluate(files, NAME)))  # type: ignore[misc]
        cost = median(inside) - median(outside)
        print(
            f"{items} items: {median(inside):.3f} s confined, {median(outside):.3f} s in this process: "
            f"ratio {median(inside) / median(outside):.2f}, {1000 * cost:+.0f} ms a suite"
        )
    await worker.stop()


def generation(model: Path) -> None:
    network, tokenizer = load_model(model)
    common = {"pretrained": network, "tokenizer": tokenizer, "batch_size": 32, "device": "cpu"}
    ours, theirs = SharedPromptLM(**common), HFLM(**common)
    until = {"until": ["word5 ", "\n"], "max_gen_toks": 64, "do_sample": False}
    asked = [Request(words(i, 10 + i % 50), dict(until)) for i in range(96)]
    times = [
        (seconds(lambda: ours.generate_until(asked)), seconds(lambda: theirs.generate_until(asked, True)))
        for _ in range(5)
    ]
    mine, hf = median(a for a, _ in times), median(b for _, b in times)
    print(f"96 answers of up to 64 tokens: {mine:.2f} s, HFLM {hf:.2f} s: ratio {hf / mine:.2f}")


def main() -> None:
    print(
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}"
    )
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        make_model(model)
        asyncio.run(whole_set(Path(folder) / "set", model))
        asyncio.run(sandbox(Path(folder) / "hub", model))
        generation(model)


if __name__ == "__main__":
    main()
