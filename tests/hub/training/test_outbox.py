"""What a node says in one conversation after the other: nothing of importance is lost, no old call takes what is new."""

from __future__ import annotations

import asyncio

from hub.training.outbox import Outbox
from protos.coalition.v1 import common_pb2, training_pb2

LONG = 5.0


def progress(step: int) -> training_pb2.NodeMessage:
    metric = common_pb2.Metric(step=step, name="loss", value=1.0)
    return training_pb2.NodeMessage(progress=training_pb2.TrainingProgress(run="run-1", metrics=[metric]))


def saved(step: int) -> training_pb2.NodeMessage:
    return training_pb2.NodeMessage(checkpoint=training_pb2.CheckpointSaved(run="run-1", step=step))


TRAINED = training_pb2.NodeMessage(trained=training_pb2.Trained(run="run-1"))


async def test_what_was_put_before_and_during_a_conversation_is_said_in_order() -> None:
    outbox = Outbox()
    outbox.put(progress(5))
    talk = outbox.conversation(LONG)
    assert await anext(talk) == progress(5)
    outbox.put(progress(10))
    outbox.put(saved(10))
    assert [await anext(talk), await anext(talk)] == [progress(10), saved(10)]


async def test_reports_are_repeated_in_the_next_conversation_and_only_the_newest_checkpoint() -> None:
    outbox = Outbox()
    first = outbox.conversation(LONG)
    for message in (progress(5), saved(5), saved(10), TRAINED):
        outbox.put(message)
        await anext(first)
    second = outbox.conversation(LONG)
    assert [await anext(second), await anext(second)] == [saved(10), TRAINED]


async def test_an_old_conversation_takes_nothing_from_the_new_one() -> None:
    outbox = Outbox()
    old, new = outbox.conversation(LONG), outbox.conversation(LONG)
    left = asyncio.ensure_future(anext(old, None))
    await asyncio.sleep(0)
    fresh = asyncio.ensure_future(anext(new))
    assert await left is None
    outbox.put(TRAINED)
    assert await fresh == TRAINED


async def test_progress_made_while_the_hub_was_away_is_told_once_it_is_back() -> None:
    outbox = Outbox()
    gone = outbox.conversation(LONG)
    outbox.put(progress(1))
    await anext(gone)
    outbox.put(progress(2))
    back = outbox.conversation(0.01)
    assert await anext(back) == progress(2)
    assert (await anext(back)).WhichOneof("kind") == "heartbeat"


async def test_silence_is_broken_by_heartbeats() -> None:
    talk = Outbox().conversation(0.01)
    assert (await anext(talk)).WhichOneof("kind") == "heartbeat"


async def test_a_dropped_task_is_not_spoken_of() -> None:
    outbox = Outbox()
    outbox.put(TRAINED)
    outbox.forget()
    assert (await anext(outbox.conversation(0.01))).WhichOneof("kind") == "heartbeat"
