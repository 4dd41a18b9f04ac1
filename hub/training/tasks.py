"""What a node agent does for the hub: prepare the data, train a rank. Each is a child process and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc

from hub.training.inventory import threads
from hub.training.launch import Child, torchrun, worker_environment
from hub.training.messages import file_entries
from protos.coalition.v1 import common_pb2, training_pb2
from protos.transport import blobs
from trust.digests import Digest, digest_file, hex_of
from trust.errors import Problem, Unavailable

Send = Callable[[training_pb2.NodeMessage], None]
"""Hands a message to the conversation with the hub; kept until it is delivered."""

POLL = 0.2  # seconds between looks at a worker's events
TRIES = 10


class Workplace:
    """A node's directory and its connection for blobs."""

    def __init__(self, directory: Path, channel: grpc.Channel) -> None:
        self._directory, self._channel = directory, channel

    def attempt_folder(self, run: str, attempt: int) -> Path:
        """An empty folder for an attempt."""
        folder = self._directory / "runs" / run / f"attempt-{attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def checkpoints(self, run: str) -> Path:
        folder = self._directory / "runs" / run / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def fetch(self, files: Iterable[common_pb2.File], folder: Path | None = None) -> list[Path]:
        """Files by digest into the node's cache, verified; linked under their own names where a folder is given."""
        paths = []
        for entry in file_entries(files):
            cached = self._directory / "blobs" / hex_of(Digest(entry.digest))
            if not cached.exists() or await asyncio.to_thread(digest_file, cached) != entry.digest:
                cached.unlink(missing_ok=True)
                await self._again(blobs.download, self._channel, Digest(entry.digest), entry.size, cached)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / entry.path).unlink(missing_ok=True)
                shutil.copyfile(cached, folder / entry.path)
                cached = folder / entry.path
            paths.append(cached)
        return paths

    async def upload(self, paths: Iterable[Path]) -> list[common_pb2.File]:
        files = []
        for path in paths:
            digest = await self._again(blobs.write, self._channel, path)
            files.append(common_pb2.File(path=path.name, digest=digest, size=path.stat().st_size))
        return files

    async def _again(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A hub that restarts is waited for."""
        for attempt in range(TRIES):
            try:
                return await asyncio.to_thread(function, *arguments)
            except Unavailable:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(min(2**attempt, 15))
        raise AssertionError


async def prepare(order: training_pb2.Prepare, place: Workplace, send: Send) -> None:
    """Tokenizer and packed tokens from the datasets; tells the hub what became of it."""

    async def work() -> training_pb2.NodeMessage:
        folder = place.attempt_folder(order.run, order.attempt)
        datasets = {dataset.id: [str(p) for p in await place.fetch(dataset.files)] for dataset in order.datasets}
        job = folder / "job.json"
        job.write_text(json.dumps({"spec": json.loads(order.spec), "datasets": datasets}))
        child = await Child.start(
            [sys.executable, "-m", "hub.training.prepare", str(job)],
            worker_environment(threads(), False),
            folder / "log",
        )
        await _finish(child)
        result = json.loads((folder / "prepared.json").read_text())
        tokenizer = await place.upload(sorted((folder / "tokenizer").iterdir()))
        (tokens,) = await place.upload([folder / "tokens.safetensors"])
        prepared = training_pb2.Prepared(
            run=order.run,
            attempt=order.attempt,
            tokenizer=tokenizer,
            tokens=tokens,
            token_count=result["count"],
            tokens_by_dataset=result["by_dataset"],
        )
        return training_pb2.NodeMessage(prepared=prepared)

    await _report(order.run, order.attempt, work(), send)


async def train(order: training_pb2.Train, place: Workplace, send: Send) -> None:
    """This node's rank of a gang, from its data to its part of the result."""

    async def work() -> training_pb2.NodeMessage:
        folder = place.attempt_folder(order.run, order.attempt)
        await place.fetch(order.tokenizer, folder / "tokenizer")
        (tokens,) = await place.fetch([order.tokens])
        job = {
            "spec": json.loads(order.spec),
            "tokenizer": str(folder / "tokenizer"),
            "tokens": str(tokens),
            "folder": str(folder),
            "checkpoints": str(place.checkpoints(order.run)),
            "resume_step": order.resume_step,
        }
        (folder / "job.json").write_text(json.dumps(job))
        loopback = order.master_host in ("127.0.0.1", "localhost")
        command = torchrun(
            folder / "job.json", rank=order.rank, world=order.world, host=order.master_host, port=order.master_port
        )
        child = await Child.start(command, worker_environment(threads(), loopback), folder / "log")
        async for event in _events(folder / "events.jsonl", child):
            await _relay(event, order, place, send)
        await _finish(child)
        files = sorted((folder / "model").iterdir()) if order.rank == 0 else []
        trained = training_pb2.Trained(
            run=order.run, attempt=order.attempt, rank=order.rank, model=await place.upload(files)
        )
        return training_pb2.NodeMessage(trained=trained)

    await _report(order.run, order.attempt, work(), send)


async def _report(run: str, attempt: int, work: Any, send: Send) -> None:
    """Send what the work answers, or why it failed."""
    try:
        message = await work
    except (Problem, OSError, KeyError, ValueError) as error:
        reason = error.what if isinstance(error, Problem) else str(error)
        failed = training_pb2.TaskFailed(run=run, attempt=attempt, reason=reason[:1000])
        message = training_pb2.NodeMessage(failed=failed)
    send(message)


async def _finish(child: Child) -> None:
    """Wait for the end of a child; it does not outlive a cancelled task. Raises `Unavailable` with its last words."""
    try:
        code = await child.wait()
    except asyncio.CancelledError:
        await child.kill()
        raise
    if code:
        raise Unavailable(f"the worker ended with code {code}: {child.last_words()}")


async def _events(path: Path, child: Child) -> AsyncIterator[dict[str, Any]]:
    """The events that a worker writes, until it has ended and all are read."""
    position = 0
    try:
        while True:
            running = child.running
            if path.exists():
                with path.open("rb") as file:
                    file.seek(position)
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                position += len(whole)
                for line in whole.splitlines():
                    yield json.loads(line)
            if not running:
                return
            await asyncio.sleep(POLL)
    except (asyncio.CancelledError, GeneratorExit):
        await child.kill()
        raise


async def _relay(event: dict[str, Any], order: training_pb2.Train, place: Workplace, send: Send) -> None:
    if event["kind"] == "progress" and order.rank == 0:
        names = ("loss", "learning_rate", "tokens_per_second")
        metrics = [common_pb2.Metric(step=event["step"], name=name, value=event[name]) for name in names]
        progress = training_pb2.TrainingProgress(run=order.run, attempt=order.attempt, metrics=metrics)
        send(training_pb2.NodeMessage(progress=progress))
    elif event["kind"] == "checkpoint":
        saved = training_pb2.CheckpointSaved(
            run=order.run,
            attempt=order.attempt,
            step=event["step"],
            rank=order.rank,
            loss=event["loss"],
            shard=event["shard"],
        )
        if event["weights"]:
            (weights,) = await place.upload([Path(event["weights"])])
            saved.weights.CopyFrom(weights)
        send(training_pb2.NodeMessage(checkpoint=saved))
