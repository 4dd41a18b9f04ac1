"""Evaluating again what a hub evaluated: the same model and suite by digest, through `coalition-hub evaluate` on this machine."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from contributors.calling import Advance
from contributors.client import Coalition
from contributors.recheck import statement
from protos.coalition.v1 import common_pb2
from protos.documents.evaluations import Evaluation
from protos.documents.leaf import Leaf
from protos.documents.models import Model
from trust.errors import Corrupt, NotFound, Unavailable


def rerun(hub: Coalition, claim: Evaluation, suite: Mapping[str, bytes], folder: Path, advance: Advance) -> bytes:
    """Our per-item log. Raises `NotFound` where the evaluator is not installed, `Unavailable` where it fails."""
    program = _program()
    model = statement(hub, claim.model)
    if not isinstance(model, Model) or Leaf.decode(hub.receipt(claim.model).leaf).payload != claim.model_payload:
        raise Corrupt(f"The ledger's {claim.model} is not the model that was evaluated.")
    for file in model.files:
        message = common_pb2.File(path=file.path, digest=file.digest, size=file.size)
        hub.download(message, folder / "model", advance)
    command = [program, "evaluate", str(folder / "model"), "-", "--items"]
    done = subprocess.run(command, input=_tar(suite), capture_output=True, check=False)
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
        raise Unavailable(f"Evaluating again failed: {reason[:300]}")
    return done.stdout


def _tar(files: Mapping[str, bytes]) -> bytes:
    """The suite on its way through a pipe: one that is sealed lies on no disk of ours either."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, body in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return packed.getvalue()


def _program() -> str:
    beside = Path(sys.executable).with_name("coalition-hub")
    found = str(beside) if beside.is_file() else shutil.which("coalition-hub")
    if found is None:
        raise NotFound("There is no `coalition-hub` here to evaluate with.", "Run `pip install 'coalition[hub]'`.")
    return found
