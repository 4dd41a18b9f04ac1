"""A folder with a model under a folder with a suite, on this machine, in the same sandbox as at a hub."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hub.evaluation import outputs
from hub.evaluation.outputs import Evaluated
from hub.evaluation.process import Sandbox, WorkerLost, WorkerProcess
from hub.settings import SANDBOX
from protos.documents.suite_files import MAX_SUITE, count_items, read_suite
from trust.errors import Invalid, NotFound, Unavailable

SECONDS = 3600


async def evaluate(model: Path, suite: Path) -> tuple[str, Evaluated]:
    """What it was computed with, and what came out. Raises `Invalid`, `NotFound`, `Unavailable`."""
    if not (suite / "suite.json").is_file() or not model.is_dir():
        raise NotFound(f"There is no suite.json in {suite}, or no folder {model}.")
    paths = [path for path in sorted(suite.iterdir()) if path.suffix in (".json", ".jsonl") and path.is_file()]
    if sum(path.stat().st_size for path in paths) > MAX_SUITE:
        raise Invalid(f"The suite has more than {MAX_SUITE} bytes.")
    files = {path.name: path.read_bytes() for path in paths}
    form = read_suite(files)
    items = count_items(form, files)
    with tempfile.TemporaryDirectory(prefix="coalition-") as folder:
        sandbox = Sandbox(Path(folder), Path(folder) / "evaluation", SANDBOX)
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
    return worker.harness, outputs.read(output.lines, form, items)
