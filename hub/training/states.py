"""The life of a run's attempts as pure functions over a value: who works on it, what they reported, what that completes.

A run is `queued` until a whole gang of nodes is free, `preparing` while rank 0 packs the data (once per run), `training`
while all ranks train. An interruption puts it back into the queue; too many without a new checkpoint end it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field as Bounded

from hub.training.shards import piece
from hub.training.shards import pieces as pieces_of
from protos.documents.base import Document, FileEntry
from protos.documents.models import Skip

MAX_FAILURES = 5
COPIES = 2
"""Copies of a run's checkpoints that the hub keeps, the newest."""
DATA = 0
"""What a `Doubt` is about that is no copy's step."""
Phase = Literal["queued", "preparing", "training"]


class Prepared(Document):
    """What rank 0 made of the data: blobs at the hub, the tokens' in their order. `tokens_by_dataset` sums to `token_count`."""

    tokenizer: tuple[FileEntry, ...]
    tokens: tuple[FileEntry, ...]
    token_count: int
    tokens_by_dataset: dict[str, Annotated[int, Bounded(ge=0)]]


@dataclass(frozen=True)
class Saved:
    """One node's report of a checkpoint; `weights` from the first only."""

    shard: str
    loss: float
    weights: FileEntry | None
    skipped: tuple[Skip, ...] = ()


class Copy(Document):
    """A checkpoint whose pieces are all blobs at the hub: any gang can go on from it."""

    step: int
    pieces: tuple[FileEntry, ...]


@dataclass(frozen=True)
class Doubt:
    """The word of one node that others depend on: that the copy of the step `about` is of no use, or that the data is (`DATA`).

    It counts once the next attempt says the same, on other nodes where there are any (`hub.training.allocation`)."""

    node: str
    about: int


@dataclass(frozen=True)
class Work:
    """A run that has not ended. `nodes` are in the order of their ranks, of which there are `ranks`.

    `registered` is the step that training can resume from on the nodes `registered_on`, or that it began at from a copy where
    these are none; `furthest` the highest ever. `copies` are whole, the newest first; `copying` are nodes' pieces by step.
    A `doubt` is forgotten by a hub that restarts, which costs another attempt.
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
    copies: tuple[Copy, ...] = ()
    copying: Mapping[int, Mapping[int, tuple[FileEntry, ...]]] = field(default_factory=dict)
    doubt: Doubt | None = None

    @property
    def world(self) -> int:
        """Ranks of all nodes; one each, unless the spec has said otherwise."""
        return self.ranks or len(self.nodes)


def place(work: Work, nodes: tuple[str, ...], ranks: int = 0) -> Work:
    """Give the work to a gang of so many ranks: the next attempt begins. From these nodes' own shards, which fit as many ranks
    as wrote them, or the newest copy if that is further; from the start where there is neither."""
    phase: Phase = "training" if work.prepared else "preparing"
    if phase == "preparing" and work.doubt and work.doubt.node == nodes[0]:
        nodes = (*nodes[1:], nodes[0])  # the first one prepares: another is asked
    fit = nodes == work.registered_on and (ranks == work.ranks or 0 in (ranks, work.ranks))
    work = work if fit else shards_lost(work)
    if work.prepared and work.copies and work.copies[0].step > work.registered:
        work = replace(work, registered=work.copies[0].step, registered_on=())
    work = replace(work, phase=phase, attempt=work.attempt + 1, nodes=nodes, ranks=ranks or work.ranks)
    return replace(work, saved={}, copying={}, finished=frozenset(), model=())


def begins_with(work: Work) -> Copy | None:
    """The copy that the present attempt goes on from, until it has a checkpoint of its own."""
    if not work.registered or work.registered_on:
        return None
    return next((copy for copy in work.copies if copy.step == work.registered), None)


def doubted(work: Work, node: str, about: int) -> Work:
    """A node says what nobody has said yet: `is_confirmed` is for the next who does."""
    return replace(work, doubt=Doubt(node, about))


def is_confirmed(work: Work, about: int) -> bool:
    """Whether this was said of an earlier attempt already."""
    return work.doubt is not None and work.doubt.about == about


def copy_lost(work: Work) -> Work:
    """The copy that the attempt began with is of no use: the next goes on from the one before, or starts over."""
    useless = begins_with(work)
    kept = tuple(copy for copy in work.copies if copy != useless)
    return shards_lost(replace(work, copies=kept, doubt=None))


def shards_lost(work: Work, earlier: int = 0) -> Work:
    """Nobody can resume from the registered checkpoint: the next attempt goes on from an `earlier` one on the same nodes, or
    starts over, and registers its own."""
    return replace(work, registered=earlier, registered_on=work.registered_on if earlier else ())


def is_current(work: Work, node: str, attempt: int) -> bool:
    """Whether a node speaks of the present attempt; anything else is late and counts for nothing."""
    return work.phase != "queued" and attempt == work.attempt and node in work.nodes


def prepared(work: Work, result: Prepared) -> Work:
    return replace(work, phase="training", prepared=result, doubt=None) if work.phase == "preparing" else work


def saved(work: Work, rank: int, step: int, report: Saved) -> Work:
    """Note one node's checkpoint; the same report again changes nothing."""
    if step <= work.registered or not 0 <= rank < len(work.nodes) or (rank == 0) != (report.weights is not None):
        return work
    steps = dict(work.saved)
    steps[step] = {**steps.get(step, {}), rank: report}
    return replace(work, saved=steps)


def copied(work: Work, rank: int, step: int, pieces: tuple[FileEntry, ...]) -> Work:
    """Note one node's pieces of a copy. With the last of all ranks' it is whole, and of older ones all but the newest go."""
    newest = work.copies[0].step if work.copies else 0
    each = work.world // max(1, len(work.nodes))
    own = set(pieces_of(rank, len(work.nodes), each))
    if step <= newest or not 0 <= rank < len(work.nodes) or not own.issuperset(file.path for file in pieces):
        return work
    steps = {**work.copying, step: {**work.copying.get(step, {}), rank: pieces}}
    found = sorted((file for each in steps[step].values() for file in each), key=lambda file: file.path)
    if [file.path for file in found] == sorted(piece(number, work.world) for number in range(work.world)):
        kept = {at: nodes for at, nodes in steps.items() if at > step}
        whole = Copy(step=step, pieces=tuple(found))
        return replace(work, copying=kept, copies=(whole, *work.copies)[:COPIES])
    return replace(work, copying={at: steps[at] for at in sorted(steps)[-COPIES:]})


def is_copied(work: Work) -> bool:
    """Whether nothing is lost where the next attempt begins from a copy."""
    return bool(work.copies) and work.copies[0].step >= work.registered


def places(work: Work, step: int) -> int:
    """How many whole ones of a checkpoint the run could go on from: its nodes', each with its part, and the hub's."""
    return int(step == work.registered and bool(work.registered_on)) + sum(copy.step == step for copy in work.copies)


def complete_checkpoint(work: Work) -> int:
    """The newest step that every node has reported and that is not registered; 0 for none."""
    return max((step for step, ranks in work.saved.items() if len(ranks) == len(work.nodes)), default=0)


def registered(work: Work, step: int, nodes: tuple[str, ...]) -> Work:
    """A checkpoint is in the ledger: interruptions before it are forgiven if it is further than any before."""
    kept = {at: ranks for at, ranks in work.saved.items() if at > step}
    failures = 0 if step > work.furthest else work.failures
    furthest = max(step, work.furthest)
    work = replace(work, registered=step, registered_on=nodes, saved=kept, failures=failures, furthest=furthest)
    return replace(work, doubt=None)  # the copy has proved to be of use


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
    return replace(
        work, phase="queued", nodes=(), failures=work.failures + 1, saved={}, finished=frozenset(), model=(), copying={}
    )


def yielded(work: Work) -> Work:
    """The attempt has stopped at a checkpoint so that another run can start; that is no failure."""
    return replace(interrupted(work), failures=work.failures)


def is_hopeless(work: Work) -> bool:
    return work.failures >= MAX_FAILURES
