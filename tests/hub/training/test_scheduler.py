"""The scheduler over a real ledger and database; the nodes' side of the conversations is spoken by the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest
from safetensors.numpy import save
from sqlmodel import col, select

from hub.ledger import grants
from hub.ledger.tables import LedgerEntry
from hub.models import registry
from hub.progress.log import Progress
from hub.submissions import catalogue
from hub.training import attempts, inbox, projection, scheduler, store
from hub.training.nodes import SILENCE, Attached
from hub.training.scheduler import Scheduler
from hub.training.service import NodesService
from hub.training.shards import piece
from hub.training.states import MAX_FAILURES
from hub.training.tables import HoldingRow, RunRow
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.runs import Run, RunSpec, Stop
from protos.documents.submissions import Dataset, DatasetFile, Withdrawal
from tests.hub.conftest import ORIGIN, Base
from trust.digests import Digest, digest_bytes

T = TypeVar("T")
SPEC = RunSpec.read(
    {
        "name": "tiny",
        "architecture": {
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 64,
            "layers": 1,
            "heads": 2,
            "kv_heads": 1,
            "context_length": 64,
        },
        "training": {
            "steps": 30,
            "batch_size": 2,
            "sequence_length": 64,
            "learning_rate": 0.01,
            "checkpoint_every": 10,
        },
        "placement": {"nodes": 2},
    }
)
SHARD = digest_bytes(b"a shard")
TEXT = b'{"text": "one"}\n'
TOKENS = bytes(2 * 640)


@dataclass
class Hub:
    """One life of a hub's scheduler; `base` outlives it."""

    base: Base
    progress: Progress
    scheduler: Scheduler

    def launch(self, **placement: Any) -> str:
        spec = SPEC.model_copy(update={"placement": SPEC.placement.model_copy(update=placement)})
        return self.base.record(Run(hub=ORIGIN, signer="core", spec=spec)).id

    def run(self, run: str) -> RunRow:
        with self.base.database.session() as session:
            return store.get(session, run)

    @property
    def dataset(self) -> str:
        """The one that there is."""
        with self.base.database.session() as session:
            return catalogue.datasets(session)[0].id

    async def ended(self, run: str) -> RunRow:
        async with asyncio.timeout(20):
            while not self.run(run).outcome:
                await asyncio.sleep(0.02)
        return self.run(run)

    async def said(self, run: str, last: str) -> list[str]:
        """What watchers of a run were told, up to the message that begins so."""
        events: list[str] = []
        async with asyncio.timeout(10):
            async for event in self.progress.watch(run):
                events.append(event.message)
                if event.message.startswith(last):
                    break
        return events

    def kinds(self) -> list[str]:
        """The kinds of the ledger's entries in order."""
        with self.base.database.session() as session:
            return [entry.kind for entry in session.exec(select(LedgerEntry).order_by(col(LedgerEntry.index)))]

    def file(self, path: str, data: bytes = b"data") -> common_pb2.File:
        """As a node uploads it."""
        return common_pb2.File(path=path, digest=self.base.blobs.put(data), size=len(data))

    async def heard(self, node: Node) -> None:
        """Wait until everything that the node said has been dealt with: the answer to a stray message comes after it."""
        node.say(failed=training_pb2.TaskFailed(run="run-nobody", attempt=1))
        assert (await node.told("stop")).stop.run == "run-nobody"


class Node:
    """An agent as the scheduler sees it."""

    def __init__(
        self, hub: Hub, name: str, run: str = "", attempt: int = 0, offer: training_pb2.Inventory | None = None
    ) -> None:
        self._hub, self.name = hub, name
        self.attached = Attached(name, training_pb2.Hello(run=run, attempt=attempt, inventory=offer))
        hub.scheduler.attach(self.attached)

    async def told(self, kind: str) -> training_pb2.HubMessage:
        """The next order, which must be of this kind; word of what was registered is no order."""
        async with asyncio.timeout(10):
            message = await self.attached.outgoing.get()
            while message and message.HasField("registered") and kind != "registered":
                message = await self.attached.outgoing.get()
        assert message is not None
        assert message.WhichOneof("kind") == kind, message
        return message

    def leave(self) -> None:
        self._hub.scheduler.detach(self.attached)

    def say(self, **content: object) -> None:
        self._hub.scheduler.say(self.name, training_pb2.NodeMessage(**content))  # type: ignore[arg-type]

    def prepared(self, run: str, attempt: int = 1) -> None:
        self.say(
            prepared=training_pb2.Prepared(
                run=run,
                attempt=attempt,
                tokenizer=[self._hub.file("tokenizer.json")],
                tokens=[self._hub.file("tokens.safetensors", TOKENS)],
                token_count=640,
                tokens_by_dataset={self._hub.dataset: 640},
            )
        )

    def saved(self, run: str, step: int, attempt: int = 1, *, weights: bool = False) -> None:
        message = training_pb2.CheckpointSaved(run=run, attempt=attempt, step=step, loss=2.5, shard=SHARD)
        if weights:
            message.weights.CopyFrom(self._hub.file(f"weights-{step}.safetensors", b"weights %d" % step))
        self.say(checkpoint=message)

    def copied(self, run: str, step: int, rank: int, world: int = 2, attempt: int = 1) -> None:
        name = piece(rank, world)
        data = f"{name} of step {step}, attempt {attempt}".encode()
        copied = training_pb2.Copied(run=run, attempt=attempt, step=step, pieces=[self._hub.file(name, data)])
        self.say(copied=copied)

    def trained(self, run: str, attempt: int = 1, *, model: bool = False) -> None:
        weights = save({"embedding": np.zeros((4, 8), np.float32)})
        files = [
            self._hub.file("config.json"),
            self._hub.file("tokenizer.json"),
            self._hub.file("model.safetensors", weights),
        ]
        self.say(trained=training_pb2.Trained(run=run, attempt=attempt, model=files if model else []))

    def failed(
        self, run: str, attempt: int, *, shards_lost: bool = False, held: Sequence[int] = (), copy_lost: bool = False
    ) -> None:
        failed = training_pb2.TaskFailed(run=run, attempt=attempt, reason="no luck", shards_lost=shards_lost, held=held)
        failed.copy_lost = copy_lost
        self.say(failed=failed)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts, nor between decisions."""
    monkeypatch.setattr(attempts, "LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(scheduler, "TICK", 0.05)
    monkeypatch.setattr(scheduler, "REST", 0)


@pytest.fixture
def ledger(base: Base) -> Base:
    """A core member and one dataset."""
    projection.register(base.journal)
    base.enrol("core", "core")
    file = DatasetFile(path="text.jsonl", digest=base.blobs.put(TEXT), size=len(TEXT), rows=1)
    described = {"name": "texts", "domain": "law", "licence": "MIT", "provenance": "a test", "rows": 1}
    base.record(Dataset.read({"hub": ORIGIN, "signer": "core", "files": (file,), **described}))
    return base


@asynccontextmanager
async def living(base: Base, **waits: float) -> AsyncIterator[Hub]:
    """A hub's scheduler from its start to its death, with the `waits` of its settings."""
    progress = Progress(base.database)
    driver = Scheduler(database=base.database, blobs=base.blobs, journal=base.journal, progress=progress, **waits)
    task = asyncio.create_task(driver.run())
    try:
        yield Hub(base, progress, driver)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def in_training(hub: Hub, run: str) -> tuple[Node, Node]:
    """Two nodes that have just been told to train."""
    first, second = Node(hub, "node-1"), Node(hub, "node-2")
    await first.told("prepare")
    first.prepared(run)
    assert (await first.told("train")).train.rank == 0
    assert (await second.told("train")).train.rank == 1
    return first, second


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens_by_dataset": {"data-0": 640}},
        {"token_count": 641},
        {"token_count": 64_000, "tokens_by_dataset": {"": 64_000}},
        {"token_count": 63, "tokens_by_dataset": {"": 63}},
        {"token_count": -64, "tokens_by_dataset": {"": -64}},
    ],
    ids=["unknown", "sum", "too many", "too few", "negative"],
)
async def test_tokens_that_are_not_those_of_the_datasets_interrupt_the_attempt(ledger: Base, wrong: Any) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first = Node(hub, "node-1")
        Node(hub, "node-2")
        await first.told("prepare")
        said = {"token_count": 640, "tokens_by_dataset": {"": 640}} | wrong
        said["tokens_by_dataset"] = {name or hub.dataset: n for name, n in said["tokens_by_dataset"].items()}
        files = {
            "tokenizer": [hub.file("tokenizer.json")],
            "tokens": [hub.file("tokens.safetensors", TOKENS)],
        }
        first.say(prepared=training_pb2.Prepared(run=run, attempt=1, **files, **said))
        await first.told("stop")


async def test_from_launch_to_model(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = Node(hub, "node-1"), Node(hub, "node-2")
        prepare = (await first.told("prepare")).prepare
        assert [file.digest for dataset in prepare.datasets for file in dataset.files] == [digest_bytes(TEXT)]
        dataset = prepare.datasets[0].id
        tokens = [hub.file("tokens-1", TOKENS), hub.file("tokens-2", TOKENS[::-1])]
        first.say(
            prepared=training_pb2.Prepared(
                run=run,
                attempt=1,
                tokenizer=[hub.file("tokenizer.json")],
                tokens=tokens,
                token_count=640,
                tokens_by_dataset={dataset: 640},
            )
        )
        orders = [(await node.told("train")).train for node in (first, second)]
        assert [(order.rank, order.world, order.resume_step) for order in orders] == [(0, 2, 0), (1, 2, 0)]
        assert orders[0].master_port == orders[1].master_port
        assert orders[1].tokens == tokens
        first.saved(run, 10, weights=True)
        second.saved(run, 10)
        second.trained(run)
        first.trained(run, model=True)
        row = await hub.ended(run)
        assert (row.outcome, row.model) == ("finished", "tiny-1")
        assert hub.kinds()[-3:] == ["checkpoint", "model", "run-end"]
        with ledger.database.session() as session:
            model = registry.get(session, "tiny-1")
            (used,) = registry.data_used(model)
        assert (model.source, model.parameters, model.tokens) == (run, 32, 30 * 2 * 2 * 64)
        assert (used.dataset, used.tokens, used.licence) == (dataset, model.tokens, "MIT")
        for node in (first, second):
            assert (await node.told("stop")).stop.over


async def test_nothing_begins_before_the_gang_is_full(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first = Node(hub, "node-1")
        await hub.heard(first)
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert work.phase == "queued"
        Node(hub, "node-2")
        assert (await first.told("prepare")).prepare.attempt == 1


async def test_a_checkpoint_needs_every_rank_and_a_rank_is_who_speaks_not_what_it_says(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        first.saved(run, 10, weights=True)
        impostor = training_pb2.CheckpointSaved(run=run, attempt=1, step=20, rank=0, loss=1.0, shard=SHARD)
        impostor.weights.CopyFrom(hub.file("weights", b"forged"))
        second.say(checkpoint=impostor)
        await hub.heard(second)
        assert "checkpoint" not in hub.kinds()
        second.saved(run, 10)
        for node in (first, second):
            assert (await node.told("registered")).registered.step == 10
        assert hub.kinds().count("checkpoint") == 1
        with ledger.database.session() as session:
            (found,) = store.checkpoints(session, run)
        assert (found.step, found.nodes) == (10, ["node-1", "node-2"])


async def test_a_failed_attempt_resumes_and_late_messages_of_it_count_for_nothing(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        first.saved(run, 10, weights=True)
        second.saved(run, 10)
        second.failed(run, 1)
        for node in (first, second):
            assert (await node.told("stop")).stop.attempt == 1
        for node in (first, second):
            order = (await node.told("train")).train
            assert (order.attempt, order.resume_step) == (2, 10)
        first.trained(run, 1, model=True)
        assert (await first.told("stop")).stop.attempt == 1
        second.failed(run, 1)
        assert (await second.told("stop")).stop.attempt == 1
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert (work.attempt, work.finished) == (2, frozenset())


async def test_lost_shards_start_the_run_over_and_say_so(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        first.saved(run, 10, weights=True)
        second.saved(run, 10)
        second.failed(run, 1, shards_lost=True)
        await second.told("stop")
        assert (await second.told("train")).train.resume_step == 0
        assert "node-2 has lost its shards: training starts over" in await hub.said(run, "attempt 2 on")


async def test_a_lost_shard_sends_the_run_back_to_the_newest_checkpoint_that_is_still_there(ledger: Base) -> None:
    """Of those that were registered; a node that lacks that one, too, says so in its turn."""
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        for step in (10, 20):
            first.saved(run, step, weights=True)
            second.saved(run, step)
            await hub.heard(second)
        for attempt, held, expected in ((1, [10, 15, 2**60], 10), (2, [15, 20], 0)):
            second.failed(run, attempt, shards_lost=True, held=held)
            for node in (first, second):
                await node.told("stop")
                assert (await node.told("train")).train.resume_step == expected
        said = await hub.said(run, "attempt 3 on")
        assert "node-2 has lost its shard of step 20: training goes back to step 10" in said
        assert "attempt 2 on node-1, node-2 from step 10" in said
        assert "node-2 has lost its shards: training starts over" in said


@pytest.mark.parametrize(
    "wrong", ["missing blob", "unknown step", "not a number", "no digest", "no model", "bad weights"]
)
async def test_wrong_reports_end_the_attempt_and_record_nothing(ledger: Base, wrong: str) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        saved = training_pb2.CheckpointSaved(run=run, attempt=1, step=10, loss=1.0, shard=SHARD)
        saved.weights.CopyFrom(hub.file("weights.safetensors"))
        match wrong:
            case "missing blob":
                saved.weights.digest = digest_bytes(b"never uploaded")
                second.saved(run, 10)
            case "unknown step":
                saved.step = 11
            case "not a number":
                saved.loss = float("nan")
            case "no digest":
                saved.shard = "../../etc/passwd"
            case "no model":
                first.trained(run)
            case "bad weights":
                files = [hub.file(name) for name in ("config.json", "tokenizer.json", "model.safetensors")]
                first.say(trained=training_pb2.Trained(run=run, attempt=1, model=files))
                second.trained(run)
        if "model" not in wrong and wrong != "bad weights":
            first.say(checkpoint=saved)
        assert (await first.told("stop")).stop.attempt == 1
        assert (await first.told("train")).train.attempt == 2
        assert hub.kinds()[-1] == "run"


async def test_what_cannot_be_shown_of_a_node_s_metrics_is_left_out(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, _ = await in_training(hub, run)
        values = [("loss", 5, 2.5), ("loss", 6, float("nan")), ("<script>", 7, 1.0), ("loss", 999, 1.0)]
        metrics = [common_pb2.Metric(step=step, name=name, value=value) for name, step, value in values]
        first.say(progress=training_pb2.TrainingProgress(run=run, attempt=1, metrics=metrics))
        await hub.heard(first)
        assert [(metric.step, metric.name) for metric in hub.progress.metrics(run)] == [(5, "loss")]


async def test_a_run_that_always_fails_ends_with_the_reason(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        for attempt in range(1, MAX_FAILURES + 1):
            first.failed(run, attempt)
            for node in (first, second):
                await node.told("stop")
                if attempt < MAX_FAILURES:
                    assert (await node.told("train")).train.attempt == attempt + 1
        row = await hub.ended(run)
        assert row.outcome == "failed"
        assert "node-1: no luck" in row.reason
        assert hub.kinds()[-2:] == ["run", "run-end"]


async def test_a_spec_that_its_data_does_not_suit_ends_with_the_sentence_once_another_node_says_so(
    ledger: Base,
) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = Node(hub, "node-1"), Node(hub, "node-2")
        await first.told("prepare")
        too_little = training_pb2.TaskFailed(run=run, attempt=1, reason="Too little text.", refused=True)
        second.say(failed=too_little)  # prepares nothing, so it cannot know
        await first.told("stop")
        assert (await first.told("prepare")).prepare.attempt == 2
        too_little.attempt = 2
        first.say(failed=too_little)
        await first.told("stop")
        for _ in range(2):
            await second.told("stop")
        assert (await second.told("prepare")).prepare.attempt == 3
        too_little.attempt = 3
        second.say(failed=too_little)
        row = await hub.ended(run)
        assert (row.outcome, row.reason) == ("failed", "Too little text.")
        assert hub.kinds()[-2:] == ["run", "run-end"]


async def test_one_node_cannot_end_a_run_that_others_find_nothing_wrong_with(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch(nodes=1)
        first = Node(hub, "node-1")
        await first.told("prepare")
        second = Node(hub, "node-2")
        await hub.heard(second)
        first.say(failed=training_pb2.TaskFailed(run=run, attempt=1, reason="Too little text.", refused=True))
        assert (await second.told("prepare")).prepare.attempt == 2
        second.prepared(run, attempt=2)
        assert (await second.told("train")).train.attempt == 2
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert (work.failures, work.doubt) == (0, None)


async def test_a_node_that_is_alone_is_asked_twice(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch(nodes=1)
        node = Node(hub, "node-1")
        for attempt in (1, 2):
            assert (await node.told("prepare")).prepare.attempt == attempt
            node.say(failed=training_pb2.TaskFailed(run=run, attempt=attempt, reason="Too little text.", refused=True))
            await node.told("stop")
        assert (await hub.ended(run)).reason == "Too little text."


async def test_a_cancelled_run_ends_and_its_nodes_stop(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        ledger.record(Stop(hub=ORIGIN, signer="core", target=run, why="enough"))
        row = await hub.ended(run)
        assert (row.outcome, row.reason) == ("cancelled", "enough")
        for node in (first, second):
            assert (await node.told("stop")).stop.over


async def test_of_a_run_that_has_ended_nothing_is_kept_beside_the_ledger(ledger: Base) -> None:
    """One that waited for nodes which there are not, and one whose node was away."""
    async with living(ledger) as hub:
        first = Node(hub, "node-1")
        run, other = hub.launch(nodes=1), hub.launch(nodes=2, accelerator="h200")
        await first.told("prepare")
        await hub.said(other, "waits for other nodes")
        first.leave()
        missed = await _until(lambda: dict(hub.scheduler.attempts._away))
        assert list(missed) == ["node-1"]
        for target in (run, other):
            ledger.record(Stop(hub=ORIGIN, signer="core", target=target, why="enough"))
            await hub.ended(target)
        await _until(lambda: not hub.scheduler.attempts.works)
        assert not hub.scheduler.attempts._away
        await _until(lambda: not hub.scheduler._left_out)
        with ledger.database.session() as session:
            assert session.exec(select(HoldingRow)).all() == []


async def _until(ready: Callable[[], T]) -> T:
    """What it answers once that is something."""
    async with asyncio.timeout(10):
        while not (found := ready()):
            await asyncio.sleep(0.02)
    return found


async def test_a_run_that_was_cancelled_just_before_the_hub_died_ends_and_its_nodes_stop_when_they_are_back(
    ledger: Base,
) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        await in_training(hub, run)
    ledger.record(Stop(hub=ORIGIN, signer="core", target=run, why="enough"))
    async with living(ledger) as hub:
        assert (await hub.ended(run)).outcome == "cancelled"
        for name in ("node-1", "node-2"):
            stop = (await Node(hub, name, run, 1).told("stop")).stop
            assert (stop.run, stop.over) == (run, True)


async def test_a_run_whose_data_is_withdrawn_ends_and_makes_no_model(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        with ledger.database.session() as session:
            (dataset,) = catalogue.datasets(session)
        ledger.record(Withdrawal(hub=ORIGIN, signer=dataset.member, submission=dataset.id))
        ended = await hub.ended(run)
        assert (ended.outcome, ended.model) == ("cancelled", "")
        assert f"{dataset.id} was withdrawn" in ended.reason
        for node in (first, second):
            await node.told("report")
            assert (await node.told("stop")).stop.over


async def test_a_node_that_comes_back_without_its_work_ends_the_attempt(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        second.leave()
        await hub.heard(first)
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert work.phase == "training"
        Node(hub, "node-2")
        assert (await first.told("stop")).stop.attempt == 1
        assert (await first.told("train")).train.attempt == 2


async def test_a_node_that_stays_away_ends_the_attempt(ledger: Base) -> None:
    async with living(ledger, patience=0.2) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        second.leave()
        stop = (await first.told("stop")).stop
        assert (stop.attempt, stop.reason) == (1, "node-2 is lost")


def copying(hub: Hub, nodes: int = 2) -> str:
    """A run whose every checkpoint is copied."""
    training = SPEC.training.model_copy(update={"copy_every": 10})
    placement = SPEC.placement.model_copy(update={"nodes": nodes})
    spec = SPEC.model_copy(update={"training": training, "placement": placement})
    return hub.base.record(Run(hub=ORIGIN, signer="core", spec=spec)).id


async def test_a_run_goes_on_without_a_node_that_is_lost_also_under_another_hub_and_with_it_when_it_is_back(
    ledger: Base,
) -> None:
    waits = {"patience": 0.2, "wait": 0.2}
    async with living(ledger, **waits) as hub:
        run = copying(hub)
        first, second = await in_training(hub, run)
        for rank, node in enumerate((first, second)):
            node.saved(run, 10, weights=rank == 0)
            node.copied(run, 10, rank)
        await hub.said(
            run, "checkpoint of step 10 is copied to the hub: any nodes can go on from it, it lies in 2 places"
        )
    async with living(ledger, **waits) as hub:
        first = Node(hub, "node-1", run, 1)
        order = (await first.told("stop")) and (await first.told("train")).train
        assert (order.rank, order.world, order.resume_step, order.ranks_per_node) == (0, 1, 10, 1)
        assert [file.path for file in order.copy] == [piece(rank, 2) for rank in range(2)]
        assert RunSpec.read(json.loads(order.spec)).training.batch_size == 2 * SPEC.training.batch_size
    async with living(ledger, **waits) as hub:
        first, second = Node(hub, "node-1", run, order.attempt), Node(hub, "node-2")
        await hub.heard(second)
        first.saved(run, 20, order.attempt, weights=True)
        first.copied(run, 20, 0, world=1, attempt=order.attempt)
        assert (await first.told("stop")).stop.reason == "stopped to go on with 2 nodes"
        for rank, node in enumerate((first, second)):
            order = (await node.told("train")).train
            assert (order.rank, order.world, order.resume_step, len(order.copy)) == (rank, 2, 20, 1), "it is back"
            assert RunSpec.read(json.loads(order.spec)).training.batch_size == SPEC.training.batch_size
            node.trained(run, order.attempt, model=rank == 0)
        row = await hub.ended(run)
        with ledger.database.session() as session:
            assert registry.get(session, row.model).tokens == SPEC.tokens, "as many as of the whole gang"


async def test_a_copy_that_a_node_cannot_use_falls_back_to_the_one_before(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = copying(hub, nodes=1)
        node = Node(hub, "node-1")
        await node.told("prepare")
        node.prepared(run)
        await node.told("train")
        for step in (10, 20):
            node.copied(run, step, 0, world=1)
        node.failed(run, 1, shards_lost=True)
        for attempt, step in ((2, 20), (3, 20), (4, 10), (5, 10), (6, 0)):
            await node.told("stop")
            order = (await node.told("train")).train
            assert (order.attempt, order.resume_step, len(order.copy)) == (attempt, step, bool(step))
            node.failed(run, attempt, copy_lost=True)
        told = await hub.said(run, "node-1 cannot use the copy of step 10: training starts over")
        assert "node-1 cannot use the copy of step 20: training goes back to step 10" in told


async def test_a_restarted_hub_adopts_what_its_nodes_still_do(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        await in_training(hub, run)
    async with living(ledger) as hub:
        first, second = Node(hub, "node-1", run, 1), Node(hub, "node-2", run, 1)
        first.saved(run, 10, weights=True)
        second.saved(run, 10)
        first.trained(run, model=True)
        second.trained(run)
        assert (await hub.ended(run)).model == "tiny-1"
        assert hub.kinds()[-3:] == ["checkpoint", "model", "run-end"]


async def test_a_hub_that_died_between_model_and_end_adds_the_end_and_no_second_model(
    ledger: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        dead = asyncio.Event()

        async def die(*_: object) -> None:
            dead.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(hub.scheduler.attempts, "end", die)
        first.trained(run, model=True)
        second.trained(run)
        await asyncio.wait_for(dead.wait(), 10)
    assert hub.kinds()[-1] == "model"
    async with living(ledger) as hub:
        assert (await hub.ended(run)).model == "tiny-1"
        assert hub.kinds()[-2:] == ["model", "run-end"]


async def test_a_node_of_a_forgotten_attempt_is_told_to_stop(ledger: Base) -> None:
    async with living(ledger) as hub:
        node = Node(hub, "node-1", "run-000000000000", 7)
        stop = (await node.told("stop")).stop
        assert (stop.run, stop.attempt, stop.over) == ("run-000000000000", 7, True)


async def test_two_runs_share_the_nodes_one_after_the_other(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        other = ledger.record(Run(hub=ORIGIN, signer="core", spec=SPEC.model_copy(update={"name": "other"}))).id
        await hub.heard(first)
        first.trained(run, model=True)
        second.trained(run)
        await first.told("stop")
        assert (await first.told("prepare")).prepare.run == other


async def test_a_higher_priority_takes_over_at_a_checkpoint_and_gives_back(ledger: Base) -> None:
    async with living(ledger) as hub:
        low = hub.launch()
        first, second = await in_training(hub, low)
        high = hub.launch(priority=1)
        await hub.heard(first)
        first.saved(low, 10, weights=True)
        second.saved(low, 10)
        for node in (first, second):
            assert (await node.told("stop")).stop.reason == f"made room for {high}"
        assert (await first.told("prepare")).prepare.run == high
        first.prepared(high)
        for node in (first, second):
            assert (await node.told("train")).train.run == high
            node.trained(high, model=node is first)
        for node in (first, second):
            assert (await node.told("stop")).stop.over
            order = (await node.told("train")).train
            assert (order.run, order.attempt, order.resume_step) == (low, 2, 10)
        work = hub.scheduler.work_on(low)
        assert work is not None
        assert work.failures == 0


async def test_a_restarted_hub_knows_which_project_has_had_more(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch(nodes=1, project="greedy")
        node = Node(hub, "node-1")
        await node.told("prepare")
        node.prepared(run)
        await node.told("train")
        node.trained(run, model=True)
        await hub.ended(run)
        again = [hub.launch(nodes=1, project=project) for project in ("greedy", "modest")]
    async with living(ledger) as hub:
        node = Node(hub, "node-1")
        assert (await node.told("prepare")).prepare.run == again[1]


async def test_an_equal_priority_waits_for_the_end(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, second = await in_training(hub, run)
        hub.launch()
        await hub.heard(first)
        first.saved(run, 10, weights=True)
        second.saved(run, 10)
        await hub.heard(first)
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert (work.phase, work.registered) == ("training", 10)


async def test_an_ill_node_is_given_nothing_until_it_is_well(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch(nodes=1)
        node = Node(hub, "node-1", offer=training_pb2.Inventory(health="its disk has 3 bytes left"))
        await hub.heard(node)
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert work.phase == "queued"
        node.attached.hello.inventory.health = ""
        assert (await node.told("prepare")).prepare.run == run


async def test_a_run_says_what_its_nodes_must_have_and_how_many_ranks_each_gets(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch(nodes=1, ranks_per_node=2, accelerator="h200", labels={"rack": "r2"})
        kinds = {"node-1": ("A100", "r2"), "node-2": ("NVIDIA H200", "r1"), "node-3": ("NVIDIA H200", "r2")}
        nodes = {
            name: Node(
                hub,
                name,
                offer=training_pb2.Inventory(
                    accelerators=[training_pb2.Accelerator(kind=kind)] * 2, labels={"rack": rack}
                ),
            )
            for name, (kind, rack) in kinds.items()
        }
        await nodes["node-3"].told("prepare")
        nodes["node-3"].prepared(run)
        train = (await nodes["node-3"].told("train")).train
        assert (train.rank, train.world, train.ranks_per_node) == (0, 1, 2)
        nodes["node-3"].trained(run, model=True)
        row = await hub.ended(run)
        with ledger.database.session() as session:
            assert registry.get(session, row.model).tokens == 30 * 2 * 2 * 64


async def test_a_run_that_no_nodes_can_hold_says_what_they_lack_and_says_it_once(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch(nodes=2, accelerator="h200")
        for number in range(3):
            kind = "NVIDIA H200" if number == 2 else "A100"
            offer = training_pb2.Inventory(accelerators=[training_pb2.Accelerator(kind=kind)])
            node = Node(hub, f"node-{number}", offer=offer)
        await hub.heard(node)
        Node(hub, "node-3", offer=offer)
        said = await hub.said(run, "attempt 1 on node-2, node-3")
        lacks = "waits for other nodes: it needs 2 nodes that are alike{}, and fewer are attached and well"
        assert said[-2] == lacks.format(" with accelerators of the kind h200")
        assert said.count(said[-2]) == 1


async def test_a_small_run_does_not_slip_past_a_gang_that_waits_unless_it_says_how_short_it_is(ledger: Base) -> None:
    async with living(ledger) as hub:
        going = hub.launch(nodes=1)
        first = Node(hub, "node-1")
        assert (await first.told("prepare")).prepare.run == going
        gang = hub.launch(nodes=2)
        second = Node(hub, "node-2")
        small = hub.launch(nodes=1)
        await hub.heard(second)
        states = [hub.scheduler.work_on(run) for run in (gang, small)]
        assert [work.phase for work in states if work] == ["queued", "queued"]
        short = hub.launch(nodes=1, hours=0.1)
        assert (await second.told("prepare")).prepare.run == short


async def test_the_hub_reads_no_more_of_a_node_than_it_can_deal_with(ledger: Base) -> None:
    driver = Scheduler(
        database=ledger.database, blobs=ledger.blobs, journal=ledger.journal, progress=Progress(ledger.database)
    )
    node, read = Attached("node-1", training_pb2.Hello()), 0

    async def flood() -> AsyncIterator[training_pb2.NodeMessage]:
        nonlocal read
        for _ in range(10 * inbox.MOST):
            read += 1
            yield training_pb2.NodeMessage(progress=training_pb2.TrainingProgress(run="run-nobody", attempt=1))

    driver.attach(node)
    listening = asyncio.create_task(NodesService(database=ledger.database, scheduler=driver)._listen(node, flood()))
    await _until(lambda: node.unheard)
    node.heard -= 10 * SILENCE
    assert read <= inbox.MOST + 1
    assert not node.silent(), "it waits for the hub, not the hub for it"
    running = asyncio.create_task(driver.run())
    await _until(lambda: read > 2 * inbox.MOST)
    for task in (listening, running):
        task.cancel()
    await asyncio.gather(listening, running, return_exceptions=True)


async def test_two_nodes_that_come_at_once_are_both_greeted_before_they_are_given_work(ledger: Base) -> None:
    """The greeting of a node that was given work already would take it for one that has forgotten it."""
    async with living(ledger) as hub:
        run = hub.launch(nodes=1)
        Node(hub, "node-1", offer=training_pb2.Inventory(memory=1))
        Node(hub, "node-2", offer=training_pb2.Inventory(memory=2))
        third = Node(hub, "node-3")
        await hub.heard(third)
        work = hub.scheduler.work_on(run)
        assert work is not None
        assert (work.attempt, work.failures) == (1, 0)


async def test_a_cluster_s_agent_works_on_one_run_at_a_time(ledger: Base) -> None:
    async with living(ledger) as hub:
        runs = [hub.launch(nodes=2), hub.launch(nodes=2)]
        agent = Node(hub, "dgx", offer=training_pb2.Inventory(machines=4))
        assert (await agent.told("prepare")).prepare.run == runs[0]
        await hub.heard(agent)
        agent.prepared(runs[0])
        train = (await agent.told("train")).train
        assert (train.rank, train.world, train.ranks_per_node) == (0, 1, 2), "all ranks are the cluster's"
        agent.trained(runs[0], model=True)
        assert (await agent.told("stop")).stop.over
        assert (await agent.told("prepare")).prepare.run == runs[1]


async def test_a_node_cannot_open_to_all_nodes_what_they_may_not_read(ledger: Base) -> None:
    """It names as its piece of a copy what a member keeps for itself."""
    async with living(ledger) as hub:
        run = copying(hub)
        first, _ = await in_training(hub, run)
        mine = hub.file(piece(0, 2), b"of a sealed suite")
        with ledger.database.session(writing=True) as session:
            grants.grant(session, mine.digest, grants.member_audience("law"))
        for rank, node in enumerate((first, _)):
            pieces = [mine] if rank == 0 else [hub.file(piece(1, 2), b"honest")]
            node.say(copied=training_pb2.Copied(run=run, attempt=1, step=10, pieces=pieces))
        await hub.said(run, "attempt 1 was interrupted: node-2 sent something wrong: copy-0-of-2.safetensors")
        with ledger.database.session() as session:
            assert not grants.may_read(session, Digest(mine.digest), node=True)


async def test_what_a_node_says_of_its_failure_holds_no_control_characters(ledger: Base) -> None:
    async with living(ledger) as hub:
        run = hub.launch()
        first, _ = await in_training(hub, run)
        first.say(failed=training_pb2.TaskFailed(run=run, attempt=1, reason="no\x00 luck\x1b[2J"))
        told = await hub.said(run, "attempt 1 was interrupted: node-1: no  luck [2J")
        assert not any("\x00" in each for each in told)
