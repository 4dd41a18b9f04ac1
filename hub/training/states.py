"""The life of a run's attempts as pure functions over a value: who works on it, what they reported, what that completes.

A run is `queued` until a whole gang of nodes is free, `preparing` while rank 0 packs the data (once per run), `training`
while all ranks train. An interruption puts it back into the queue; too many without a new checkpoint end it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field as Bounded

from protos.documents.base import Document, FileEntry
from protos.documents.models import Skip

MAX_FAILURES = 5
Phase = Literal["queued", "preparing", "training"]


class Prepared(Document):
    """What rank 0 made of the data: blobs at the hub. `tokens_by_dataset` sums to `token_count`."""

    tokenizer: tuple[FileEntry, ...]
    tokens: FileEntry
    token_count: int
    tokens_by_dataset: dict[str, Annotated[int, Bounded(ge=0)]]


@dataclass(frozen=True)
class Saved:
    """One node's report of a checkpoint; `weights` from the first only."""

    shard: str
    loss: float
    weights: FileEntry | None
    skipped: tuple[Skip, ...] = ()


@dataclass(frozen=True)
class Work:
    """A run that has not ended. `nodes` are in the order of their ranks, of which there are `ranks`.

    `registered` is the step that training can resume from on the nodes `registered_on`; `furthest` the highest ever.
    """

    run: str
    phase: Phase = "queued"
    attempt: int = 0
    failures: int = 0
    nodes: tuple[str, ...] = ()
    prepared: Prepared | None = None
    saved: Mapping[int, Mapping[int, Saved]] = field(default_factory=dict)
    registered: int = 0
    registered_on: tuple[str, ...] = ()
    furthest: int = 0
    finished: frozenset[int] = frozenset()
    model: tuple[FileEntry, ...] = ()
    skipped: tuple[Skip, ...] = ()
    ranks: int = 0

    @property
    def world(self) -> int:
        """Ranks of all nodes; one each, unless the spec has said otherwise."""
        return self.ranks or len(self.nodes)


def place(work: Work, nodes: tuple[str, ...]) -> Work:
    """Give the work to a gang: the next attempt begins, from the start if other nodes hold the shards."""
    phase: Phase = "training" if work.prepared else "preparing"
    work = work if nodes == work.registered_on else shards_lost(work)
    return replace(work, phase=phase, attempt=work.attempt + 1, nodes=nodes, saved={}, finished=frozenset(), model=())


def shards_lost(work: Work, earlier: int = 0) -> Work:
    """Nobody can resume from the registered checkpoint: the next attempt goes on from an `earlier` one on the same nodes, or
    starts over, and registers its own."""
    return replace(work, registered=earlier, registered_on=work.registered_on if earlier else ())


def is_current(work: Work, node: str, attempt: int) -> bool:
    """Whether a node speaks of the present attempt; anything else is late and counts for nothing."""
    return work.phase != "queued" and attempt == work.attempt and node in work.nodes


def prepared(work: Work, result: Prepared) -> Work:
    return replace(work, phase="training", prepared=result) if work.phase == "preparing" else work


def saved(work: Work, rank: int, step: int, report: Saved) -> Work:
    """Note one node's checkpoint; the same report again changes nothing."""
    if step <= work.registered or not 0 <= rank < len(work.nodes) or (rank == 0) != (report.weights is not None):
        return work
    steps = dict(work.saved)
    steps[step] = {**steps.get(step, {}), rank: report}
    return replace(work, saved=steps)


def complete_checkpoint(work: Work) -> int:
    """The newest step that every node has reported and that is not registered; 0 for none."""
    return max((step for step, ranks in work.saved.items() if len(ranks) == len(work.nodes)), default=0)


def registered(work: Work, step: int, nodes: tuple[str, ...]) -> Work:
    """A checkpoint is in the ledger: interruptions before it are forgiven if it is further than any before."""
    kept = {at: ranks for at, ranks in work.saved.items() if at > step}
    failures = 0 if step > work.furthest else work.failures
    furthest = max(step, work.furthest)
    return replace(work, registered=step, registered_on=nodes, saved=kept, failures=failures, furthest=furthest)


def finished(work: Work, rank: int, model: tuple[FileEntry, ...], skipped: tuple[Skip, ...] = ()) -> Work:
    """One node is done; the first brings the model and the batches that it did not learn from."""
    if not 0 <= rank < len(work.nodes) or (rank == 0 and not model):
        return work
    work = replace(work, finished=work.finished | {rank})
    return replace(work, model=model, skipped=skipped) if rank == 0 else work


def is_finished(work: Work) -> bool:
    return work.phase == "training" and bool(work.nodes) and len(work.finished) == len(work.nodes)


def interrupted(work: Work) -> Work:
    """The attempt is lost; the run waits for a gang again."""
    return replace(work, phase="queued", nodes=(), failures=work.failures + 1, saved={}, finished=frozenset(), model=())


def yielded(work: Work) -> Work:
    """The attempt has stopped at a checkpoint so that another run can start; that is no failure."""
    return replace(interrupted(work), failures=work.failures)


def is_hopeless(work: Work) -> bool:
    return work.failures >= MAX_FAILURES
