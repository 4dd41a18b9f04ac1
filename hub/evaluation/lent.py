"""Evaluations on a node: the hub's order, the same sandbox as at the hub, and what came out as a blob for it to judge."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from hub.evaluation.process import Output, Sandbox, Unsafe, WorkerLost, WorkerProcess
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.suite_files import MAX_SUITE
from trust.errors import Invalid, Problem

LONGEST = 86_400


class Place(Protocol):
    """The node's way to the hub's blobs (`hub.training.workplace`)."""

    async def fetch(self, files: Iterable[common_pb2.File], folder: Path | None = None) -> list[Path]: ...
    async def upload(self, paths: Iterable[Path]) -> list[common_pb2.File]: ...


class Lent:
    """One worker, which imports once, and one model at a time, laid out once for all suites that come for it.

    `directory` is the node's, of which the sandbox sees the model alone; `demands` are the layers that must stand.
    """

    def __init__(self, directory: Path, demands: Sequence[str]) -> None:
        self._sandbox = Sandbox(directory, directory / "evaluation", tuple(demands))
        self._worker = WorkerProcess(self._sandbox)
        self._ready = ""

    async def evaluate(self, order: training_pb2.Evaluate, place: Place) -> training_pb2.Evaluated:
        """Whatever happens, an answer."""
        answer = training_pb2.Evaluated(id=order.id)
        try:
            await self._worker.start()
            output = await self._evaluate(order, place)
            answer.harness, answer.why = self._worker.harness, output.why
            if not output.why:
                answer.output.CopyFrom(await self._upload(output.lines, place))
        except (Problem, WorkerLost, OSError) as error:
            answer.trouble = error.what if isinstance(error, Problem) else str(error)
            answer.unable = isinstance(error, Unsafe)  # the layer will be lacking next time too
        return answer

    async def stop(self) -> None:
        """Give the memory and the disk back: a run needs them."""
        await self._worker.stop()
        self._clear()

    async def _evaluate(self, order: training_pb2.Evaluate, place: Place) -> Output:
        """Raises `Problem`, `WorkerLost`, `OSError`."""
        if sum(file.size for file in order.suite_files) > MAX_SUITE:
            raise Invalid(f"The suite has more than {MAX_SUITE} bytes.")
        folder = self._sandbox.models / "model"
        if self._ready != order.model:
            self._clear()
            await place.fetch(order.model_files, folder)
            self._ready = order.model
        paths = await place.fetch(order.suite_files)
        files = {file.path: path.read_bytes() for file, path in zip(order.suite_files, paths, strict=True)}
        seconds = min(max(0, order.seconds), LONGEST)
        return await self._worker.ask(order.model, folder, order.suite, order.name, files, seconds)

    async def _upload(self, lines: bytes, place: Place) -> common_pb2.File:
        with tempfile.NamedTemporaryFile(dir=self._sandbox.cache, prefix="output-") as file:
            file.write(lines)
            file.flush()
            (sent,) = await place.upload([Path(file.name)])
        return sent

    def _clear(self) -> None:
        self._ready = ""
        shutil.rmtree(self._sandbox.models / "model", ignore_errors=True)
