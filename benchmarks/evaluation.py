"""What the sandbox costs a suite, and greedy decoding against lm-eval's own: `python -m benchmarks.evaluation`.

Interleaved, medians. The peers: the same suite scored in this process without any layer, and HFLM.generate_until.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from lm_eval.models.huggingface import HFLM

from hub.evaluation.likelihoods import SharedPromptLM
from hub.evaluation.process import Sandbox, WorkerProcess
from hub.evaluation.scorer import Scorer
from hub.settings import SANDBOX
from learning.architectures import build_model
from learning.export import load_model, save_model
from learning.tokenizer import train_tokenizer
from protos.documents.architectures import Llama

ROUNDS = 9
SHAPE = Llama(vocab_size=512, hidden_size=128, intermediate_size=256, layers=4, heads=4, kv_heads=2, context_length=512)
NAME = "law/exam@0123456789ab"


def words(seed: int, count: int) -> str:
    return " ".join(f"word{(seed * 31 + i * 7) % 97}" for i in range(count))


def make_model(folder: Path) -> None:
    tokenizer = train_tokenizer((words(seed, 300) for seed in range(50)), 500)
    save_model(build_model(SHAPE.hugging_face() | {"vocab_size": len(tokenizer)}, seed=0), tokenizer, folder)


def suite(items: int) -> dict[str, bytes]:
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
        for i in range(items)
    ]
    return {
        "suite.json": json.dumps(form).encode(),
        "terms.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    }


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
        asyncio.run(sandbox(Path(folder) / "hub", model))
        generation(model)


if __name__ == "__main__":
    main()
