"""The life of a run's attempts: whatever nodes report, in whatever order, the rules hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hub.training import states
from hub.training.shards import piece
from hub.training.states import Prepared, Saved, Work
from protos.documents.base import FileEntry

DIGEST = "sha256:" + "0" * 64
FILE = FileEntry(path="weights", digest=DIGEST, size=1)
PREPARED = Prepared(tokenizer=(FILE,), tokens=(FILE,), token_count=10, tokens_by_dataset={"data-1": 10})
NODES = ("a", "b")


def report(rank: int) -> Saved:
    return Saved(DIGEST, 1.0, FILE if rank == 0 else None)


def test_training_resumes_where_the_shards_are_and_starts_over_elsewhere() -> None:
    work = Work("run-1", registered=5, registered_on=("c", "b"), furthest=5)
    assert states.place(work, ("c", "b")).registered == 5
    assert states.place(work, ("b", "c")).registered == 0
    assert states.place(states.shards_lost(work), ("c", "b")).registered == 0


def test_shards_fit_as_many_ranks_as_wrote_them() -> None:
    work = Work("run-1", prepared=PREPARED, registered=5, registered_on=("dgx",), furthest=5, ranks=4)
    assert states.place(work, ("dgx",), 4).registered == 5
    assert states.place(work, ("dgx",), 2).registered == 0


def test_a_run_that_starts_over_registers_its_checkpoints_again_but_is_not_forgiven_for_them() -> None:
    work = Work("run-1", prepared=PREPARED, registered=20, registered_on=NODES, furthest=20, failures=3)
    work = states.place(states.shards_lost(work), NODES)
    work = states.saved(states.saved(work, 0, 10, report(0)), 1, 10, report(1))
    work = states.registered(work, states.complete_checkpoint(work), NODES)
    assert (work.registered, work.failures) == (10, 3)
    assert states.registered(work, 30, NODES).failures == 0


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


def pieces(rank: int, world: int = 2, digest: str = DIGEST) -> tuple[FileEntry, ...]:
    return (FileEntry(path=piece(rank, world), digest=digest, size=1),)


def copied(work: Work, step: int) -> Work:
    for rank in range(len(work.nodes)):
        work = states.copied(work, rank, step, pieces(rank, len(work.nodes)))
    return work


def test_a_copy_is_whole_with_the_pieces_of_all_ranks_and_lets_any_gang_go_on() -> None:
    work = states.place(Work("run-1", prepared=PREPARED), NODES)
    half = states.copied(work, 0, 10, pieces(0))
    assert (half.copies, states.copied(half, 1, 20, pieces(1)).copies) == ((), ()), "of another step"
    assert states.copied(half, 1, 10, pieces(1, world=3)).copies == (), "of another gang"
    whole = states.registered(states.copied(half, 1, 10, pieces(1)), 10, NODES)
    assert (states.places(half, 10), states.places(whole, 10), states.places(whole, 20)) == (0, 2, 0)
    stopped = states.interrupted(whole)
    own = states.place(stopped, NODES, 2)
    assert (own.registered, own.registered_on, states.begins_with(own)) == (10, NODES, None)
    alone = states.place(stopped, ("a",), 1)
    assert (alone.registered, alone.world, states.begins_with(alone)) == (10, 1, whole.copies[0])
    assert states.begins_with(states.registered(alone, 20, ("a",))) is None


def test_a_copy_that_is_further_than_the_shards_comes_first() -> None:
    work = states.registered(copied(states.place(Work("run-1", prepared=PREPARED), NODES), 20), 30, NODES)
    back = states.place(states.shards_lost(work, earlier=10), NODES)
    assert (back.registered, back.registered_on) == (20, ())


def test_a_copy_of_no_use_falls_back_to_the_one_before_and_then_to_the_start() -> None:
    work = states.place(Work("run-1", prepared=PREPARED), NODES)
    for step in (10, 20, 30):
        work = copied(work, step)
    assert [copy.step for copy in work.copies] == [30, 20], "older ones may be deleted"
    for expected in (30, 20, 0):
        work = states.place(states.interrupted(work), ("c", "d"), 2)
        assert work.registered == expected
        work = states.copy_lost(work)


def test_a_doubt_is_confirmed_by_the_same_word_and_refuted_by_what_comes_of_a_try() -> None:
    work = states.doubted(states.place(Work("run-1"), NODES), "a", states.DATA)
    assert states.is_confirmed(work, states.DATA)
    assert not states.is_confirmed(work, 10)
    again = states.place(states.yielded(work), NODES)
    assert again.nodes == ("b", "a"), "the other one prepares"
    assert states.prepared(again, PREPARED).doubt is None
    copy = states.doubted(copied(states.place(Work("run-1", prepared=PREPARED), NODES), 10), "a", 10)
    assert states.registered(copy, 20, NODES).doubt is None


def test_what_was_copied_of_an_attempt_does_not_mix_with_the_next() -> None:
    work = states.copied(states.place(Work("run-1", prepared=PREPARED), NODES), 0, 10, pieces(0))
    work = states.place(states.interrupted(work), NODES)
    assert states.copied(work, 1, 10, pieces(1)).copies == ()


class AnyCourse(RuleBasedStateMachine):
    """Random events; what must hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work("run-1")
        self.highest = 0

    @precondition(lambda self: self.work.phase == "queued")
    @rule(nodes=st.lists(st.sampled_from("abc"), unique=True, min_size=2, max_size=2))
    def place(self, nodes: list[str]) -> None:
        self.work = states.place(self.work, tuple(nodes))

    @rule()
    def prepare(self) -> None:
        self.work = states.prepared(self.work, PREPARED)

    @rule(rank=st.integers(0, 3), step=st.integers(1, 5))
    def save(self, rank: int, step: int) -> None:
        self.work = states.saved(self.work, rank, step, report(rank))

    @rule(rank=st.integers(0, 3), step=st.integers(1, 5))
    def copy(self, rank: int, step: int) -> None:
        self.work = states.copied(self.work, rank, step, pieces(rank))

    @rule()
    def lose_copy(self) -> None:
        if self.work.phase != "queued":
            self.work = states.interrupted(states.copy_lost(self.work))

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

    @rule()
    def lose_shards(self) -> None:
        if self.work.phase != "queued":
            self.work = states.interrupted(states.shards_lost(self.work))

    @invariant()
    def a_working_run_has_its_whole_gang(self) -> None:
        assert len(self.work.nodes) == (0 if self.work.phase == "queued" else 2)
        assert len(set(self.work.nodes)) == len(self.work.nodes)

    @invariant()
    def one_knows_how_far_it_ever_came(self) -> None:
        assert self.work.furthest >= max(self.highest, self.work.registered if self.work.registered_on else 0)
        self.highest = self.work.furthest

    @invariant()
    def a_finished_run_has_its_model(self) -> None:
        if states.is_finished(self.work):
            assert self.work.model

    @invariant()
    def one_resumes_only_where_the_shards_are_or_from_a_copy(self) -> None:
        if self.work.nodes and self.work.registered:
            assert self.work.nodes == self.work.registered_on or not self.work.registered_on
            assert len(self.work.copies) <= states.COPIES


TestAnyCourse = AnyCourse.TestCase
