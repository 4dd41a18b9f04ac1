"""The life of a run's attempts: whatever nodes report, in whatever order, the rules hold."""

from __future__ import annotations

from dataclasses import replace

from hub.training import states
from hub.training.states import Prepared, Saved, Work
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from protos.documents.base import FileEntry

DIGEST = "sha256:" + "0" * 64
FILE = FileEntry(path="weights", digest=DIGEST, size=1)
PREPARED = Prepared(tokenizer=(FILE,), tokens=FILE, token_count=10, tokens_by_dataset={"data-1": 10})
NODES = ("a", "b")


def report(rank: int) -> Saved:
    return Saved(DIGEST, 1.0, FILE if rank == 0 else None)


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    work = Work("run-1")
    assert states.gang(work, 2, ["a"]) == ()
    assert states.gang(work, 2, ["a", "b", "c"]) == ("a", "b")


def test_the_nodes_that_hold_the_shards_are_preferred_in_their_old_order() -> None:
    work = Work("run-1", registered=5, registered_on=("c", "b"))
    assert states.gang(work, 2, ["a", "b", "c"]) == ("c", "b")
    assert states.gang(work, 2, ["a", "b"]) == ("a", "b")
    assert states.place(work, ("c", "b")).resume_step == 5
    assert states.place(work, ("a", "b")).resume_step == 0


def test_the_data_is_prepared_once() -> None:
    first = states.place(Work("run-1"), NODES)
    assert first.phase == "preparing"
    again = states.place(states.interrupted(states.prepared(first, PREPARED)), NODES)
    assert (again.phase, again.attempt) == ("training", 2)


def test_a_late_report_of_an_earlier_attempt_does_not_count() -> None:
    work = states.place(states.interrupted(states.place(Work("run-1"), NODES)), NODES)
    assert not states.is_current(work, "a", 1)
    assert not states.is_current(work, "stranger", 2)
    assert states.is_current(work, "a", 2)


def test_a_checkpoint_is_complete_when_every_rank_has_it() -> None:
    work = replace(states.place(Work("run-1", prepared=PREPARED), NODES))
    work = states.saved(work, 0, 10, report(0))
    assert states.complete_checkpoint(work) == 0
    work = states.saved(work, 1, 10, report(1))
    assert states.complete_checkpoint(work) == 10
    assert states.complete_checkpoint(states.registered(work, 10, NODES)) == 0


def test_weights_come_from_rank_zero_alone() -> None:
    work = states.place(Work("run-1", prepared=PREPARED), NODES)
    assert states.saved(work, 1, 10, report(0)) == work
    assert states.saved(work, 0, 10, report(1)) == work


def test_too_many_failures_without_progress_are_hopeless_and_a_checkpoint_forgives() -> None:
    work = Work("run-1", prepared=PREPARED)
    for _ in range(states.MAX_FAILURES):
        assert not states.is_hopeless(work)
        work = states.interrupted(states.place(work, NODES))
    assert states.is_hopeless(work)
    assert not states.is_hopeless(states.registered(work, 10, NODES))


class AnyCourse(RuleBasedStateMachine):
    """Random events; what must hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work("run-1")
        self.highest = 0

    @precondition(lambda self: self.work.phase == "queued")
    @rule(free=st.lists(st.sampled_from("abcd"), unique=True))
    def place(self, free: list[str]) -> None:
        nodes = states.gang(self.work, 2, free)
        if nodes:
            self.work = states.place(self.work, nodes)

    @rule()
    def prepare(self) -> None:
        self.work = states.prepared(self.work, PREPARED)

    @rule(rank=st.integers(0, 3), step=st.integers(1, 5))
    def save(self, rank: int, step: int) -> None:
        self.work = states.saved(self.work, rank, step, report(rank))

    @rule()
    def register(self) -> None:
        if step := states.complete_checkpoint(self.work):
            self.work = states.registered(self.work, step, self.work.nodes)

    @rule(rank=st.integers(0, 3), files=st.sampled_from([(), (FILE,)]))
    def finish(self, rank: int, files: tuple[FileEntry, ...]) -> None:
        self.work = states.finished(self.work, rank, files)

    @rule()
    def interrupt(self) -> None:
        if self.work.phase != "queued":
            self.work = states.interrupted(self.work)

    @invariant()
    def a_working_run_has_its_whole_gang(self) -> None:
        assert len(self.work.nodes) == (0 if self.work.phase == "queued" else 2)
        assert len(set(self.work.nodes)) == len(self.work.nodes)

    @invariant()
    def progress_is_never_lost(self) -> None:
        assert self.work.registered >= self.highest
        self.highest = self.work.registered

    @invariant()
    def a_finished_run_has_its_model(self) -> None:
        if states.is_finished(self.work):
            assert self.work.model

    @invariant()
    def one_resumes_only_where_the_shards_are(self) -> None:
        if self.work.resume_step:
            assert self.work.nodes == self.work.registered_on


TestAnyCourse = AnyCourse.TestCase


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.integers(1, 4))
def test_a_gang_only_has_free_nodes(free: list[str], count: int) -> None:
    nodes = states.gang(Work("run-1"), count, free)
    assert set(nodes) <= set(free)
    assert len(nodes) in (0, count)
