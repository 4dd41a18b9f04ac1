"""What a node agent does for the hub: prepare the data, train a rank. Each is a child process and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from hub.training import shards
from hub.training.copying import Copying
from hub.training.inventory import threads
from hub.training.launch import Child, worker_environment
from hub.training.launching import Job, Launcher, Part
from hub.training.messages import is_metric
from hub.training.workplace import Workplace
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.runs import RunSpec
from trust.errors import Corrupt, Denied, Invalid, NotFound, Problem, Unavailable

Send = Callable[[training_pb2.NodeMessage], None]
"""Hands a message to the conversation with the hub; kept until it is delivered."""

POLL = 0.2  # seconds between looks at a worker's events
REASON = 1000
_log = logging.getLogger(__name__)


class ShardsLost(NotFound):
    """The checkpoint to resume from is not on this node, or not as it was saved; `held` are the steps that are."""

    def __init__(self, step: int, held: list[int]) -> None:
        super().__init__(f"the shard of step {step} is not here as it was saved")
        self.held = held


class CopyLost(NotFound):
    """The copy to go on from cannot be had, or is not one."""


class Refused(Invalid):
    """The spec and the data do not go together: every other attempt would end the same."""


async def prepare(order: training_pb2.Prepare, place: Workplace, send: Send) -> None:
    """Tokenizer and packed tokens from the datasets; tells the hub what became of it."""
    await _report(order.run, order.attempt, _prepare(order, place), send)


async def train(order: training_pb2.Train, place: Workplace, launcher: Launcher, send: Send) -> None:
    """This agent's part of a gang, from its data to its part of the result; tells the hub what becomes of it."""
    await _report(order.run, order.attempt, _train(order, place, launcher, send), send)


async def _prepare(order: training_pb2.Prepare, place: Workplace) -> training_pb2.NodeMessage:
    folder = place.attempt_folder(order.run, order.attempt)
    datasets = {
        dataset.id: {"domain": dataset.domain, "paths": [str(path) for path in await place.fetch(dataset.files)]}
        for dataset in order.datasets
    }
    job = folder / "job.json"
    job.write_text(json.dumps({"spec": json.loads(order.spec), "datasets": datasets}))
    command = place.concealed([sys.executable, "-m", "hub.training.prepare", str(job)])
    environment = worker_environment(threads(), False, folder / "tmp", place.home)
    child = await Child.start(command, environment, folder / "log")
    try:
        await _finish(child)
    except Unavailable:
        if (folder / "refused").exists():
            raise Refused((folder / "refused").read_text()) from None
        raise
    result = json.loads((folder / "prepared.json").read_text())
    tokenizer = await place.upload(sorted((folder / "tokenizer").iterdir()))
    tokens = await place.upload(sorted((folder / "tokens").iterdir()))
    prepared = training_pb2.Prepared(
        run=order.run,
        attempt=order.attempt,
        tokenizer=tokenizer,
        tokens=tokens,
        token_count=result["count"],
        tokens_by_dataset=result["by_dataset"],
    )
    return training_pb2.NodeMessage(prepared=prepared)


async def _train(
    order: training_pb2.Train, place: Workplace, launcher: Launcher, send: Send
) -> training_pb2.NodeMessage:
    folder, checkpoints = place.attempt_folder(order.run, order.attempt), place.checkpoints(order.run)
    spec = json.loads(order.spec)
    machines = RunSpec.read(spec).placement.nodes if launcher.shared else 0
    parts = shards.parts(checkpoints, machines)
    copy = await _fetched(order, place)
    await asyncio.to_thread(_go_back, parts, 0 if copy else order.resume_step)
    await asyncio.to_thread(place.register, order.run, order.resume_step)
    await place.fetch(order.tokenizer, folder / "tokenizer")
    tokens = await place.fetch(order.tokens)
    job = {
        "spec": spec,
        "tokenizer": str(folder / "tokenizer"),
        "tokens": [str(path) for path in tokens],
        "folder": str(folder),
        "checkpoints": str(checkpoints),
        "copies": str(folder / "copies"),
        "copy": [str(path) for path in copy],
        "resume_step": order.resume_step,
        "shared": launcher.shared,
    }
    (folder / "job.json").write_text(json.dumps(job))
    part = Part(
        run=order.run,
        job=folder / "job.json",
        rank=order.rank,
        world=order.world,
        host=order.master_host,
        port=order.master_port,
        processes=max(1, order.ranks_per_node),
        machines=max(1, machines),
    )
    child = await launcher.start(part, place)
    names = shards.pieces(order.rank, order.world, max(1, order.ranks_per_node))
    copying = Copying(order.run, order.attempt, folder / "copies", names, place, send)
    skipped: list[training_pb2.Skip] = []
    try:
        async with aclosing(_events(folder / "events.jsonl", child)) as events:
            async for event in events:
                if event["kind"] == "unusable":
                    raise CopyLost(f"the copy of step {order.resume_step} is not what it should be")
                if machines and event["kind"] == "checkpoint":
                    event["shard"] = await _sealed(parts, event["step"], child)
                await _relay(event, order, place, send)
                if event["kind"] == "checkpoint" and event["copied"] and event["shard"]:
                    copying.begin(event["step"])
                elif event["kind"] == "checkpoint":
                    copying.leave_out(event["step"])  # of a checkpoint that is no longer there
                if event["kind"] == "checkpoint":
                    await launcher.stand_by(part, place)
                skipped = _skipped(event) or skipped
        await _finish(child)
    finally:
        await copying.end()
    files = sorted((folder / "model").iterdir()) if order.rank == 0 else []
    model = await place.upload(files)
    trained = training_pb2.Trained(run=order.run, attempt=order.attempt, rank=order.rank, model=model, skipped=skipped)
    return training_pb2.NodeMessage(trained=trained)


async def _fetched(order: training_pb2.Train, place: Workplace) -> list[Path]:
    """The pieces of the copy to go on from, if there is one. Raises `CopyLost`, `Unavailable` where the hub stays away."""
    try:
        return await place.fetch(order.copy)
    except (NotFound, Corrupt, Denied) as problem:
        raise CopyLost(f"the copy of step {order.resume_step} cannot be had: {problem.what}") from None


def _go_back(parts: list[Path], step: int) -> None:
    """Forget what is newer than the step to go on from. Raises `ShardsLost` unless all machines hold that."""
    if step and not all(shards.holds(part, step) for part in parts):
        raise ShardsLost(step, sorted(shards.held(parts)))
    for part in parts:
        shards.rewind(part, step)


async def _sealed(parts: list[Path], step: int, child: Job) -> str:
    """Of a checkpoint that all machines have sealed, though a shared disk may show that late; empty where it is no longer there
    because newer ones are."""
    while (digest := shards.sealed(parts, step)) is None:
        if not child.running or any(newer > step for part in parts for newer in shards.steps(part)):
            return ""
        await asyncio.sleep(POLL)
    return digest


async def _report(run: str, attempt: int, work: Awaitable[training_pb2.NodeMessage], send: Send) -> None:
    """Send what the work answers, or why it failed: whatever happens here, the hub must not wait in vain."""
    try:
        message = await work
    except Exception as error:
        if not isinstance(error, Problem | OSError):
            _log.exception("%s, attempt %d", run, attempt)
        reason = (error.what if isinstance(error, Problem) else repr(error))[:REASON]
        _log.warning("%s, attempt %d: %s", run, attempt, reason)
        failed = training_pb2.TaskFailed(run=run, attempt=attempt, reason=reason, refused=isinstance(error, Refused))
        if isinstance(error, ShardsLost):
            failed.shards_lost = True
            failed.held.extend(error.held)
        failed.copy_lost = isinstance(error, CopyLost)
        message = training_pb2.NodeMessage(failed=failed)
    send(message)


async def _finish(child: Job) -> None:
    """Wait for the end of a child; it does not outlive a cancelled task. Raises `Unavailable` with its last words."""
    try:
        code = await child.wait()
    except asyncio.CancelledError:
        await child.kill()
        raise
    if code:
        raise Unavailable(f"the worker ended with code {code}: {child.last_words()}")


async def _events(path: Path, child: Job) -> AsyncGenerator[dict[str, Any], None]:
    """The events that a worker writes, until it has ended and all are read. Whoever stops listening ends the worker."""
    position = 0
    try:
        while True:
            running = child.running
            for told in child.news():
                yield {"kind": "progress", "message": told}
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


def _skipped(event: dict[str, Any]) -> list[training_pb2.Skip]:
    return [training_pb2.Skip(after=after, until=until) for after, until in event.get("skipped", ())]


async def _relay(event: dict[str, Any], order: training_pb2.Train, place: Workplace, send: Send) -> None:
    if event["kind"] == "progress" and order.rank == 0:
        metrics = [
            common_pb2.Metric(step=event["step"], name=name, value=event[name]) for name in event if is_metric(name)
        ]
        progress = training_pb2.TrainingProgress(
            run=order.run, attempt=order.attempt, metrics=metrics, message=event.get("message", "")
        )
        send(training_pb2.NodeMessage(progress=progress))
    elif event["kind"] == "checkpoint" and not event["shard"]:
        Path(event["weights"]).unlink()
    elif event["kind"] == "checkpoint":
        saved = training_pb2.CheckpointSaved(
            run=order.run,
            attempt=order.attempt,
            step=event["step"],
            rank=order.rank,
            loss=event["loss"],
            shard=event["shard"],
            skipped=_skipped(event) if order.rank == 0 else [],
        )
        if event["weights"]:
            weights = Path(event["weights"])
            (uploaded,) = await place.upload([weights])
            saved.weights.CopyFrom(uploaded)
            weights.unlink()
        send(training_pb2.NodeMessage(checkpoint=saved))
