"""A tiny random model on disk, suites of real-looking rows, and both in a hub's ledger."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.evaluation import projection
from hub.ledger.entries import Entry
from hub.models import registry
from hub.settings import SANDBOX, demanded
from learning.architectures import build_model
from learning.export import save_model
from learning.tokenizer import train_tokenizer
from protos.documents.base import FileEntry
from protos.documents.evaluations import Evaluation, Sample, TaskScore
from protos.documents.statements import HUB
from protos.documents.submissions import Suite, SuiteVisibility
from tests.hub.conftest import ORIGIN, Base
from tests.shapes import llama
from trust.digests import digest_bytes

CONTEXT = 64
HERE = demanded(os.environ.get("COALITION_SANDBOX") or ",".join(SANDBOX))
"""The layers that must stand on this machine."""
WORDS = ["the", "heart", "pumps", "blood", "through", "arteries", "while", "a", "licence", "binds", "both", "parties"]


def prose(seed: int, words: int) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(words))


def choice_rows(count: int = 12) -> list[dict[str, Any]]:
    """Questions of very different length, one of them longer than the model's context."""
    return [
        {
            "text": prose(seed, 90 if seed == 3 else 5 + seed),
            "choices": [prose(seed * 10 + each, 1 + each) + f" {each}" for each in range(4)],
            "answer": seed % 4,
        }
        for seed in range(count)
    ]


def text_rows(count: int = 5) -> list[dict[str, str]]:
    """Texts, some of several windows; with characters that are more than one byte, and that some take for line ends."""
    return [{"text": f"{prose(seed, 10 + 60 * seed)} é\u2028ß"} for seed in range(count)]


def recall_rows(count: int = 9) -> list[dict[str, str]]:
    """What follows a text, of very different length."""
    return [
        {"text": prose(seed, 90 if seed == 2 else 3 + seed), "target": prose(50 + seed, 4)} for seed in range(count)
    ]


CHOICE = {"kind": "multiple_choice", "prompt": "{text}\nThis is:", "metric": "acc_norm"}
TASKS: list[dict[str, Any]] = [
    {"name": "terms", "data": "terms.jsonl", **CHOICE},
    {"name": "plain", "data": "terms.jsonl", **CHOICE, "metric": "acc", "fewshot": 2},
    {"name": "reading", "kind": "perplexity", "data": "reading.jsonl"},
    {"name": "recall", "kind": "log_likelihood", "data": "recall.jsonl", "prompt": "{text}", "fewshot": 1},
    {"name": "parrot", "kind": "log_likelihood", "data": "recall.jsonl", "prompt": "{text}", "metric": "greedy_match"},
    {
        "name": "say",
        "kind": "generation",
        "data": "recall.jsonl",
        "prompt": "{text}",
        "max_tokens": 12,
        "stop": [" while"],
        "check": {"how": "f1"},
    },
]


def suite_files(
    name: str = "law-exam", tasks: Sequence[Mapping[str, Any]] = TASKS, version: str = "1"
) -> dict[str, bytes]:
    form = {
        "format": "coalition-suite/v1",
        "name": name,
        "version": version,
        "domain": "law",
        "licence": "CC-BY-4.0",
        "description": "Which words follow.",
        "tasks": list(tasks),
    }
    rows = {"terms.jsonl": choice_rows(), "reading.jsonl": text_rows(), "recall.jsonl": recall_rows()}
    named = {task["data"] for task in tasks}
    return {
        "suite.json": json.dumps(form).encode(),
        **{
            path: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()
            for path, found in rows.items()
            if path in named
        },
    }


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for path, body in files.items():
        (folder / path).write_bytes(body)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a context of 64 tokens. Its initial weights are enlarged, so that likelihoods differ."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer((prose(seed, 200) for seed in range(20)), 300)
    model = build_model(llama(len(tokenizer), 32, 64, 2, 2, 1, CONTEXT), seed=0)
    for parameter in model.parameters():
        parameter.data.mul_(4)
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture
def files(model_folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in model_folder.iterdir()}


@pytest.fixture
def hub(base: Base) -> Base:
    """The foundation with this room's part in the ledger."""
    projection.register(base.journal)
    return base


def record_suite(
    base: Base, member: str, files: Mapping[str, bytes], version: str = "1", visibility: SuiteVisibility = "members"
) -> Entry:
    """Somebody's suite, as its submission leaves it."""
    keep = base.blobs.put_sealed if visibility == "sealed" else base.blobs.put
    entries = tuple(FileEntry(path=path, digest=keep(body), size=len(body)) for path, body in files.items())
    name = json.loads(files["suite.json"])["name"]
    return base.record(
        Suite(
            hub=ORIGIN,
            signer=member,
            name=name,
            version=version,
            domain="law",
            licence="CC-BY-4.0",
            visibility=visibility,
            files=entries,
        )
    )


def payload(text: str) -> str:
    return digest_bytes(text.encode())


def record_evaluation(
    base: Base, model: str, suite: Entry, samples: Sequence[Sample], claimed: tuple[TaskScore, ...]
) -> Entry:
    """What a hub says that a model got, whether it follows from the log or not."""
    with base.database.session() as session:
        payload = registry.get(session, model).payload
    log = "".join(sample.model_dump_json(exclude_none=True) + "\n" for sample in samples)
    return base.journal.sign_and_record(
        Evaluation(
            hub=ORIGIN,
            signer=HUB,
            model=model,
            model_payload=payload,
            suite=suite.id,
            suite_payload=suite.payload,
            harness="lm-eval",
            scores=claimed,
            samples=base.blobs.put(log.encode()),
            seconds=1,
        )
    )
