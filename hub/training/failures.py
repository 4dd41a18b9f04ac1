"""What becomes of a run when a node says that its attempt has failed, and what that word is worth (decision 28)."""

from __future__ import annotations

import asyncio

from hub.training import states
from hub.training.attempts import Attempts
from hub.training.records import Records
from hub.training.states import Work
from protos.coalition.v1 import training_pb2

REASON = 1000  # characters of what a node may say of a run's end


async def failed(attempts: Attempts, records: Records, work: Work, node: str, message: training_pb2.TaskFailed) -> None:
    """The next attempt begins with what this one found lost. What others depend on is not taken from one node's word: another is
    asked first, where there is one."""
    reason = message.reason[:REASON] or "it gave no reason"
    about = _doubted(work, node, message)
    if about is not None and not states.is_confirmed(work, about):
        await attempts.interrupt(states.doubted(work, node, about), f"{node}: {reason}", blamed=False)
        return
    if about == states.DATA:
        await attempts.end(work, "failed", reason)
        return
    if about is not None:
        work = states.copy_lost(work)
        await attempts.tell(work.run, "queued", f"{node} cannot use the copy of step {about}{_instead(work)}")
    elif message.shards_lost:
        lost = work.registered
        work = states.shards_lost(work, await asyncio.to_thread(records.earlier, work, message.held))
        await attempts.tell(work.run, "queued", f"{node} has lost its shard{_further(lost, work)}")
    await attempts.interrupt(work, f"{node}: {reason}")


def _doubted(work: Work, node: str, message: training_pb2.TaskFailed) -> int | None:
    """What this word would take from the run, if it is any that others depend on: the copy of a step, or all of it (`DATA`)."""
    if message.refused and work.phase == "preparing" and node == work.nodes[0]:
        return states.DATA
    copy = states.begins_with(work) if message.copy_lost and not message.shards_lost else None
    return copy.step if copy else None


def _further(lost: int, work: Work) -> str:
    found = max(work.registered, *(copy.step for copy in work.copies), 0)
    return f" of step {lost}: training goes back to step {found}" if found else "s: training starts over"


def _instead(work: Work) -> str:
    return f": training goes back to step {work.copies[0].step}" if work.copies else ": training starts over"
