"""A campaign's rounds, as the external server task of a Flower run: `python -m hub.rounds.serverapp DIRECTORY`.

Starts a Flower run, takes its server task from the SuperLink, and leads the rounds from the plan's first one to the last.
Each finished round appears in the directory by one rename; what the hub should tell its watchers goes to standard output.
Ends with code 0 when all rounds are there, 1 after saying why not.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hub.rounds import control, fab
from hub.rounds.children import die_with_parent
from hub.rounds.plan import (
    Event,
    Plan,
    RoundResult,
    Site,
    discard_unfinished,
    entries,
    large_files,
    model_directory,
    read_plan,
    round_directory,
    site_of,
    taken_before,
    write_document,
)
from protos.documents.base import FileEntry
from protos.documents.rounds import RoundTask
from protos.transport.memory import give_back, settle
from trust.digests import digest_bytes
from trust.errors import Problem, Unavailable

if TYPE_CHECKING:
    from hub.rounds.merging import Merger
    from hub.rounds.parts import Part
    from hub.rounds.steering import Steering

STARTING = 60.0


class Voice:
    """Events as lines on the pipe to the hub."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def say(self, event: Event) -> None:
        self._pipe.write(event.model_dump_json().encode() + b"\n")
        self._pipe.flush()


def main(directory: Path) -> int:
    """Lead the rounds; the exit code."""
    voice = Voice(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever libraries print goes to the log
    try:
        lead(directory, read_plan(directory), voice)
    except Problem as problem:
        voice.say(Event(phase="interrupted", failure=problem.what[:2000]))
        return 1
    except Exception as error:
        voice.say(Event(phase="interrupted", failure=_told(error)[:2000]))
        raise
    return 0


def _told(error: Exception) -> str:
    """One line: what httpx says of an answer goes on with advice for who writes web pages."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The hub's disk is full: make room there, then start the campaign again."
    return f"{type(error).__name__}: {error}".splitlines()[0]


def lead(directory: Path, plan: Plan, voice: Voice) -> None:
    """Every round that is still to come, in one Flower run. Raises a Problem when a round comes to nothing."""
    from hub.rounds.merging import Merger
    from hub.rounds.steering import steering_of
    from learning.shelf import Shelf

    settle()
    discard_unfinished(directory)
    shelf = Shelf(large_files(directory))
    merger = Merger(plan.spec, shelf)
    merger.look_back(directory, plan.first_round)
    steering = steering_of(plan.spec, directory, plan.first_round)
    afoot: Mapping[str, Part] = {}
    with server_task(plan, large_files(directory)) as grid:
        for number in range(plan.first_round, plan.spec.rounds + 1):
            afoot = lead_round(directory, plan, number, grid, voice, merger, afoot, steering)


@contextmanager
def server_task(plan: Plan, folder: Path) -> Iterator[Any]:
    """Start a Flower run and hold its server task: its grid, for messages to push and to pull, whose arrays lie in `folder`."""
    from flwr.common.constant import SubStatus
    from flwr.common.serde import run_from_proto
    from flwr.proto.runtime_pb2 import PullTaskInputRequest, PushTaskOutputRequest
    from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
    from flwr.supercore.task_identity import TaskIdentity

    from hub.rounds.grid import Grid

    authority, secret = Path(plan.authority).read_bytes(), Path(plan.secret).read_text()
    grid = Grid(plan.superlink, authority, _token(plan, authority, secret), folder)
    client = grid._runtime_client
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    status, details = SubStatus.FAILED, "interrupted"
    try:
        heartbeat.start()
        given = client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        grid.set_run(run_from_proto(given.run))
        yield grid
        status, details = SubStatus.COMPLETED, ""
    finally:
        grid._retry_invoker.max_tries = 1
        client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))
        heartbeat.stop()
        grid.close()


def _token(plan: Plan, authority: bytes, secret: str) -> str:
    """Start a run and acquire its server task. Tasks of runs that were stopped are let go."""
    with control.control_client(plan.superlink, authority, secret) as client:
        control.stop_runs(client)
        run = control.start_run(client, fab.build())
    until = time.monotonic() + STARTING
    with control.runtime_client(plan.superlink, authority, secret) as runtime:
        while time.monotonic() < until:
            acquired = control.acquire_server_task(runtime)
            if acquired is None:
                time.sleep(0.2)
            elif acquired[0] == run:
                return acquired[1]
    raise Unavailable(f"The SuperLink did not hand out the server task of run {run}.")


def lead_round(
    directory: Path,
    plan: Plan,
    number: int,
    grid: Any,
    voice: Voice,
    merger: Merger,
    afoot: Mapping[str, Part] | None = None,
    steering: Steering | None = None,
) -> Mapping[str, Part]:
    """One round over Flower's grid, from the model before it to `rounds/NUMBER`; what it leaves for the next one's `afoot`."""
    from hub.rounds import rewards
    from hub.rounds.enclosing import mapped
    from hub.rounds.exchange import Round, most_of
    from hub.rounds.masking import MaskedRound
    from hub.rounds.measuring import measure_of
    from hub.rounds.steering import given, led
    from learning.export import load_model, model_files, outline
    from learning.shelf import Shelf
    from learning.trainable import trainable_of

    def say(message: str, metrics: tuple[tuple[int, str, float], ...] = ()) -> None:
        voice.say(Event(phase=f"round {number}", message=message, metrics=metrics))

    parent = model_directory(directory, number - 1)
    files = model_files(parent)
    shelf = Shelf(large_files(directory))
    size = sum(path.stat().st_size for path in files)
    trainable, seed = trainable_of(plan.spec.trained()), plan.spec.start_seed(number)
    begun_by = load_model(parent)[0] if trainable.needs_weights else outline(parent)
    reference, furthest = trainable.origin(begun_by, seed, shelf)
    del begun_by
    give_back(size)
    grid.most = most_of(reference)
    sites = read_plan(directory).sites
    control, beside = given(steering, [site.member for site in sites], reference)
    begun = entries(parent, files)
    described = (FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in beside.items())
    task = RoundTask(campaign=plan.campaign, round=number, spec=plan.spec, files=(*begun, *described), control=control)
    say(f"asks {', '.join(site.member for site in sites)}")

    def as_it_stands(member: str) -> Site | None:
        return site_of(read_plan(directory), member)

    taken, measure = taken_before(directory, plan, number), measure_of(directory, plan.spec, parent)
    contents = {path.name: mapped(path) for path in files} | beside
    asked: Round | MaskedRound
    if plan.spec.masks is not None:
        asked = MaskedRound(grid, task, contents, reference, as_it_stands, say, directory / "sum.json", afoot)
    else:
        asked = Round(grid, task, contents, reference, as_it_stands, say, taken, measure, afoot, furthest, shelf)
    averaged = asked.run(sites)
    left = asked.afoot
    del asked, measure
    give_back(size)
    partial = directory / "rounds" / f"{number}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    adapter = led(steering, averaged.contributions, averaged.adapter, reference)
    merger.write_model(*load_model(parent), adapter, partial)
    result = RoundResult(
        campaign=plan.campaign,
        round=number,
        parent=begun,
        contributions=averaged.contributions,
        tokens=averaged.tokens,
        data=averaged.data,
    )
    write_document(partial / "result.json", result)
    _publish(partial, round_directory(directory, number))
    counted = [part for part in averaged.contributions if not part.excluded]
    say(
        f"{len(counted)} of {len(sites)} updates averaged",
        rewards.metrics(number, counted),
    )
    return left


def _publish(partial: Path, target: Path) -> None:
    """Make every file durable, then let the round appear."""
    for path in partial.rglob("*"):
        _sync(path)
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(Path(sys.argv[1])))
