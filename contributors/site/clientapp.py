"""The site's training process: takes each task from our SuperNode, and gives back an adapter and a few numbers.

`python -m contributors.site.clientapp HOME PORT`. It stays warm between rounds (Flower's own would start anew for each
message, five seconds of CPU) and runs what this member installed: the bundle that comes with a Flower run is never opened.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import httpx
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from contributors.site.children import die_with_parent
from contributors.site.controls import Controls
from contributors.site.datasets import Source, read_declarations, remembered_digests, sources
from contributors.site.feedback import Feedback
from contributors.site.masking import RECORD, Masking, Pack
from contributors.site.pace import Pace, pull_quickly
from contributors.site.policy import check_task, load_policy, read_agreements
from contributors.site.presence import check_presence
from contributors.site.private import PrivateText, Unfit
from contributors.site.proving import check_model
from contributors.site.shielding import shielded
from contributors.site.spending import charge, check_budget
from contributors.site.taking import emptied, half_of_memory, most_of, take_task
from contributors.site.training import train
from contributors.site.watchdog import watched
from protos.documents.rounds import RoundReply, RoundTask
from protos.transport.contents import DATA, data_of, document_of, packed, sealed
from protos.transport.memory import give_back, settle
from protos.transport.pushing import push
from protos.transport.version import installed
from trust.canonical import emit, parse
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Problem

POLL = 0.3  # seconds between two looks at the most
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
UNFIT = "its data does not fit its datasets or this campaign; the site's own log says why"
_log = logging.getLogger(__name__)

Answer = tuple[RoundReply, bytes]
Work = Callable[[RoundTask, Mapping[str, bytes]], Answer]
"""A task and its files to the reply and the update's safetensors bytes (empty with a refusal)."""
Masked = Callable[[RecordDict], RecordDict]
"""A step of a sum under masks to its answer."""


class Packing(Protocol):
    """Work of which something else than the adapter may travel."""

    def __call__(self, task: RoundTask, files: Mapping[str, bytes], pack: Pack | None = None) -> Answer: ...


def serve(
    port: int,
    secret: bytes,
    work: Work,
    masked: Masked | None = None,
    most: Callable[[], int] = half_of_memory,
    folder: Path | None = None,
) -> None:
    """Take tasks of at most so many bytes from the SuperNode on this machine's `port`, one after the other, for ever. They come
    into `folder`; without one into one of this process's."""
    folder = folder or Path(tempfile.mkdtemp(prefix="tasks-"))
    pull_quickly()
    inflatable_utils.push_object_contents_from_iterable = push
    settle()
    pace = Pace(POLL)
    with _client(port, SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={ACQUIRE})) as door:
        while True:
            looked = time.monotonic()
            token = _acquire(door)  # an empty answer has waited for a task (`handover`)
            if token is None:
                pace.sleep(looked)
                continue
            try:
                _run_task(port, token, work, masked, most(), folder)
            except httpx.HTTPError as error:
                _log.warning("the SuperNode went away during a task: %s", error)
            except ObjectPushError as error:  # it drops answers to a campaign that was stopped or paused
                _log.warning("nobody waits for the answer any more: %s", error)
            pace.restart()


def _client(port: int, *interceptors: Any) -> RuntimeHttpClient:
    version = RuntimeVersionHttpInterceptor(component_name="flwr-clientapp")
    return RuntimeHttpClient.from_server_address(
        server_address=f"127.0.0.1:{port}",
        insecure=True,
        root_certificates=None,
        interceptors=[version, *interceptors],
    )


def _acquire(door: RuntimeHttpClient) -> str | None:
    """The token of a waiting task, or None; also None while the SuperNode is not there."""
    try:
        response = door.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
    except httpx.HTTPError:
        return None
    return str(response.token) if response.HasField("task") and response.token else None


def _run_task(port: int, token: str, work: Work, masked: Masked | None, most: int, folder: Path) -> None:
    with _client(port, RuntimeTokenHttpInterceptor(token)) as client:
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heartbeat.start()
        context, status, details = None, SubStatus.FAILED, "the site's task ended early"
        try:
            message, context, problem = take_task(client, most, folder)
            reply = Message(_refused(problem), reply_to=message) if problem else _reply(message, work, masked)
            with no_object_id_recompute():  # or the update is hashed again for every object that holds it
                push_message(client, reply, context)
            status, details = SubStatus.COMPLETED, ""
        finally:
            push_task_output(client, context, status, details)
            heartbeat.stop()


def _reply(message: Message, work: Work, masked: Masked | None = None) -> Message:
    content = message.content
    if masked is not None and RECORD in content:
        return Message(masked(content), reply_to=message)
    return Message(_answer(content, work), reply_to=message)


def in_sums(home: Path, work: Packing) -> Masked:
    """The site's part in sums under masks, where `work` does what is to be masked."""
    masking = Masking(home)
    return lambda content: masking.answer(content, lambda pack: _answer(content, partial(work, pack=pack)))


def _answer(content: RecordDict, work: Work) -> RecordDict:
    """Every way a task can go wrong becomes a refusal; its words are ours, quote no private text and name no file."""
    campaign, number = "unknown", 1
    try:
        task = read_task(content)
        campaign, number = task.campaign, task.round
        files = files_of(content, task)
        content.pop(DATA, None)  # they are as large as the model
        give_back(sum(map(len, files.values())))
        with watched():
            reply, update = work(task, files)
    except Problem as problem:
        return _refused(problem, campaign, number)
    except Exception as error:
        _log.exception("round %d of %s failed", number, campaign)
        why = f"the site met an error of its own ({type(error).__name__}); its log says more"
        reply, update = RoundReply(campaign=campaign, round=number, refusal=why), b""
    return message_content("reply", emit(reply.model_dump(mode="json")), update)


def _refused(problem: Problem, campaign: str = "unknown", number: int = 1) -> RecordDict:
    _say(f"round {number} of {campaign} refused: {problem.diagnostics()}")
    why = UNFIT if isinstance(problem, Unfit) else problem.what
    reply = RoundReply(campaign=campaign, round=number, refusal=why[:500])
    return message_content("reply", emit(reply.model_dump(mode="json")), b"")


def message_content(record: str, document: bytes, data: bytes) -> RecordDict:
    """Of a message to the hub's server app: see `protos.transport.contents`."""
    beside, apart = packed(document, data)
    arrays = {name: Array(dtype="uint8", shape=(len(part),), stype="bytes", data=part) for name, part in apart.items()}
    more = {DATA: ArrayRecord(arrays)} if arrays else {}
    return RecordDict({record: sealed(ConfigRecord(beside)), **more})


def read_task(content: RecordDict) -> RoundTask:
    """Raises `Invalid` for anything but a task of the closed schema."""
    document = document_of(content, "task")
    try:
        return RoundTask.read(parse(document))
    except Invalid as problem:  # the schema is closed: a newer hub may say what we never heard of
        what = problem.what.partition(";")[0].rstrip(".")
        raise Invalid(
            f"This site runs coalition {installed()} and the hub another version, whose task it cannot read ({what}).",
            "Install the hub's version of coalition.",
        ) from None


def files_of(content: RecordDict, task: RoundTask) -> dict[str, bytes]:
    """The files beside a task, which travel one after the other. Their digests are checked before they are used."""
    size = sum(entry.size for entry in task.files)
    data = memoryview(data_of(content, "task", size))
    if len(data) != size:
        raise Invalid("The files beside the task are not those it names.")
    ends = list(accumulate(entry.size for entry in task.files))
    return {entry.path: bytes(data[end - entry.size : end]) for entry, end in zip(task.files, ends, strict=True)}


def honest_work(home: Path) -> Packing:
    """Check against consent, policy, budget and datasets as they stand now, train on the private text, note what that costs."""
    digests, feedback, controls = remembered_digests(home), Feedback(home), Controls(home)

    def usable() -> tuple[Source, ...]:
        policy = load_policy(home)
        return sources(Path(policy.data), policy.country, read_declarations(home), digests)

    text = PrivateText(usable)

    def work(task: RoundTask, files: Mapping[str, bytes], pack: Pack | None = None) -> Answer:
        policy, agreements = load_policy(home), read_agreements(home)
        agreed = check_task(task, policy, agreements)
        check_presence(home, policy)
        if agreed.base:  # an agreement of before models were proven names none
            check_model(home, task)
        if (pack is None) != (task.spec.masks is None):
            raise Denied("Updates of this campaign leave the site under masks, or those of none do.")
        check_budget(home, task, policy)
        open_ones = [each.campaign for each in agreements.campaigns if not each.ended]
        feedback.keep_only(open_ones)
        controls.keep_only(open_ones)
        own = controls.own(task) if task.spec.strategy == "scaffold" else None
        member = read_declarations(home).member if task.spec.experts is not None else ""
        _say(f"round {task.round} of {task.campaign} begins")
        trained = shielded(train(task, files, text, agreed.rewards, own, member), task.spec.privacy, os.urandom)
        update, result = (pack or feedback.update)(task, trained), trained.result
        controls.keep(task, update, trained.control)
        reply = RoundReply(
            campaign=task.campaign,
            round=task.round,
            task=task.digest,
            update=digest_bytes(update),
            examples=trained.examples,
            tokens=result.tokens,
            loss_first=0 if task.spec.withholds else result.loss_first,
            loss_last=0 if task.spec.withholds else result.loss_last,
            rewarded=None if task.spec.withholds else trained.rewarded,
            data=trained.data,
        )
        charge(home, task, load_policy(home))
        told = f"loss {result.loss_first:.3f} to {result.loss_last:.3f}"
        if (given := trained.rewarded) is not None:
            told = f"reward {given.first:.3f} to {given.last:.3f}"
        _say(f"round {task.round}: {told} on {reply.examples} texts")
        return reply, update

    return work


def _say(message: str) -> None:
    """A line for whoever watches the site."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stdout.flush()


def main(home: Path, port: int) -> None:
    """Serve until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    work = honest_work(home)
    secret = (home / "site" / "secret").read_bytes()
    serve(port, secret, work, in_sums(home, work), partial(most_of, home), emptied(home))


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]), int(sys.argv[2]))
