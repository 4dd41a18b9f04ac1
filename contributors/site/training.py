"""A round's local training: the site's private text, the model that came with the task, an adapter that leaves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from learning.adaptation import AdaptationResult, adapt
from learning.adapters import AdapterShape, adapter_state, attach
from learning.export import load_model
from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from protos.documents.campaigns import RoundTask
from trust.digests import digest_bytes
from trust.errors import Invalid, NotFound

MAX_LINE = 16 << 20
SUFFIXES = (".jsonl", ".txt", ".md")


@dataclass(frozen=True)
class Trained:
    """What may leave: the adapter's tensors and these numbers. `examples` counts private documents."""

    adapter: dict[str, Tensor]
    examples: int
    result: AdaptationResult


class PrivateText:
    """The site's text as blocks of tokens, made once per tokenizer and state of the files: rounds share them."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._key: object = None
        self._blocks: Blocks | None = None
        self._documents = 0

    def packed(self, tokenizer: PreTrainedTokenizerFast, tokenizer_digest: str, length: int) -> tuple[Blocks, int]:
        """(blocks [n, length], number of documents). Raises `Invalid` or `NotFound`, never quoting the text."""
        key = (tokenizer_digest, length, [(path, path.stat().st_mtime_ns) for path in _paths(self._data)])
        if self._blocks is None or key != self._key:
            texts = list(private_texts(self._data))
            blocks = pack(encode_documents(tokenizer, texts), length, END_OF_TEXT_ID)
            if not len(blocks):
                raise Invalid("The site's text does not fill one block of tokens.", "Give it more text.")
            self._key, self._blocks, self._documents = key, blocks, len(texts)
        return self._blocks, self._documents


def train(task: RoundTask, files: Mapping[str, bytes], text: PrivateText) -> Trained:
    """Adapt the task's model to the private text. Raises `Invalid` or `NotFound`, never quoting the text."""
    _check_files(task, files)
    spec = task.spec
    with tempfile.TemporaryDirectory(prefix="coalition-round-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        model, tokenizer = load_model(Path(folder))
    tokenizer_digest = digest_bytes(files["tokenizer.json"])
    blocks, documents = text.packed(tokenizer, tokenizer_digest, spec.training.sequence_length)
    shape = AdapterShape(rank=spec.adapter.rank, alpha=spec.adapter.alpha, targets=spec.adapter.targets)
    adapted = attach(model, shape, task.seed).to("cuda" if torch.cuda.is_available() else "cpu")
    training = spec.training
    result = adapt(adapted, blocks, training.steps, training.batch_size, training.learning_rate, task.seed)
    return Trained(adapter_state(adapted), documents, result)


def private_texts(data: Path) -> Iterator[str]:
    """Documents of a file or folder: the `text` of each JSON line, or a whole .txt or .md file, in order of the paths."""
    paths = _paths(data)
    found = False
    for path in paths:
        for text in _json_lines(path) if path.suffix == ".jsonl" else [path.read_text(errors="replace")]:
            found = True
            yield text
    if not found:
        raise Invalid("The site's data holds no text.", f"Give it {', '.join(SUFFIXES)} files.")


def _paths(data: Path) -> list[Path]:
    if not data.exists():
        raise NotFound("The site's private text is not where site.toml says.", "Correct `data` in site.toml.")
    return [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.suffix in SUFFIXES)


def _json_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if len(line) > MAX_LINE:
                raise Invalid(f"Line {number} of {path.name} is longer than {MAX_LINE} bytes.")
            if line.strip():
                yield _text(line, number, path.name)


def _text(line: bytes, number: int, name: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, TypeError, KeyError):
        raise Invalid(f"Line {number} of {name} is no JSON object with a `text`.") from None
    if not isinstance(text, str):
        raise Invalid(f"The `text` in line {number} of {name} is no string.")
    return text


def _check_files(task: RoundTask, files: Mapping[str, bytes]) -> None:
    """That the files are those which the task names, byte for byte."""
    if set(files) != {entry.path for entry in task.files}:
        raise Invalid("The files beside the task are not those it names.")
    for entry in task.files:
        if digest_bytes(files[entry.path]) != entry.digest:
            raise Invalid(f"{entry.path} is not the file that the task names.")
