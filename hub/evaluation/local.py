"""A folder with a model under a suite, on this machine, in the same sandbox as at a hub."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from hub.evaluation import outputs
from hub.evaluation.outputs import Evaluated
from hub.evaluation.process import Sandbox, WorkerLost, WorkerProcess
from protos.documents.suite_files import MAX_SUITE, count_items, read_suite
from trust.errors import Invalid, NotFound, Unavailable

SECONDS = 3600


def from_folder(suite: Path) -> dict[str, bytes]:
    """A suite's files by name. Raises `Invalid`, `NotFound`."""
    if not (suite / "suite.json").is_file():
        raise NotFound(f"There is no suite.json in {suite}.")
    paths = [path for path in sorted(suite.iterdir()) if path.suffix in (".json", ".jsonl") and path.is_file()]
    _check_size(path.stat().st_size for path in paths)
    return {path.name: path.read_bytes() for path in paths}


def from_tar(stream: IO[bytes]) -> dict[str, bytes]:
    """As `from_folder`, of a tar that never becomes files: a sealed suite has no place on a disk."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                body = tar.extractfile(member) if member.isreg() else None
                if body is None:
                    raise Invalid(f"{member.name[:80]!r} in the tar of the suite is no file.")
                _check_size([*map(len, files.values()), member.size])
                files[member.name] = body.read()
    except tarfile.TarError:
        raise Invalid("Standard input holds no tar of a suite's files.", "Make one with `tar -c`.") from None
    return files


async def evaluate(model: Path, files: Mapping[str, bytes], demands: Sequence[str]) -> tuple[str, Evaluated]:
    """What it was computed with, and what came out, behind the layers of `demands`.

    Raises `Invalid`, `NotFound`, `Unavailable`.
    """
    _check_model(model)
    form = read_suite(files)
    items = count_items(form, files)
    with tempfile.TemporaryDirectory(prefix="coalition-") as folder:
        sandbox = Sandbox(Path(folder), Path(folder) / "evaluation", tuple(demands))
        shutil.copytree(model, sandbox.models / "model")
        worker = WorkerProcess(sandbox)
        try:
            name = f"local/{form.name}@{'0' * 12}"
            output = await worker.ask("model", sandbox.models / "model", "suite", name, files, SECONDS)
        except WorkerLost as lost:
            raise Unavailable(str(lost)) from None
        finally:
            await worker.stop()
    if output.why:
        raise Unavailable(f"The evaluation was cut short: {output.why}.")
    return worker.harness, replace(outputs.read(output.lines, form, items), seconds=output.seconds)


def _check_model(folder: Path) -> None:
    """That a model can be there; whether it is one is found out in the sandbox. Raises `NotFound`."""
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.")
    lacking = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        lacking.append("model.safetensors")
    if lacking:
        raise NotFound(
            f"{folder} holds no model: it lacks {', '.join(lacking)}.",
            "Name the folder of a release, or one that `save_pretrained` of model and tokenizer wrote.",
        )


def _check_size(sizes: Iterator[int] | Sequence[int]) -> None:
    if sum(sizes) > MAX_SUITE:
        raise Invalid(f"The suite has more than {MAX_SUITE} bytes.", "Make it smaller.")
