from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from learning.planning.census import Census
from learning.planning.layouts import MARGIN, MOST_NODES, Layout, alternatives, choose, enough
from learning.planning.memory import Memory, memory
from learning.planning.tracing import Held
from learning.pretraining import REDUCE_BUCKET, Precision

GB = 10**9
SEVEN = Census(total=7 * GB, active=7 * GB, embeddings=GB // 2, experts=0, largest_layer=GB // 5, matrices=6 * GB)


def passing(activations: int) -> Held:
    """A pass that is fullest before it is half way back."""
    return Held(activations, ((activations, 0), (activations // 2, GB), (0, 2 * SEVEN.total)))


def needs(layout: Layout, ranks: int = 64) -> Memory:
    each = (3 if layout.recompute else 20) * GB
    return memory(
        SEVEN, passing(each * layout.micro_batch), ranks=ranks, zero_stage=layout.zero_stage, precision="bf16"
    )


def test_what_fits_as_it_is_stays_simple() -> None:
    assert choose(4, 200 * GB, needs) == Layout(1, 4, False)


def test_less_at_once_comes_before_more_exchange_and_that_before_work_done_twice() -> None:
    assert choose(4, 80 * GB, needs) == Layout(1, 2, False)
    assert choose(4, 40 * GB, needs) == Layout(1, 1, False)
    assert choose(4, 30 * GB, needs) == Layout(3, 1, False)
    assert choose(4, 21 * GB, needs) == Layout(2, 1, True)


def test_where_nothing_fits_nothing_is_chosen() -> None:
    assert choose(4, 2 * GB, needs) is None


def test_the_fewest_nodes_that_would_do_are_told_if_any_number_does() -> None:
    assert enough(lambda nodes: choose(4, 16 * GB, lambda layout: needs(layout, 8 * nodes)) is not None, 1) == 2
    for least in (2, 3, 17, MOST_NODES):
        assert enough(lambda nodes, least=least: nodes >= least, 1) == least
    assert enough(lambda _: False, 1) == 0
    assert enough(lambda _: True, MOST_NODES) == 0


@given(st.integers(1, 64), st.integers(1, 300))
def test_the_choice_fits_and_nothing_that_we_would_rather_have_does(batch: int, gigabytes: int) -> None:
    available, chosen = gigabytes * GB, choose(batch, gigabytes * GB, needs)
    for layout in alternatives(batch):
        if layout == chosen:
            assert needs(layout).total <= MARGIN * available
            return
        assert needs(layout).total > MARGIN * available
    assert chosen is None


@given(st.integers(1, 4096), st.sampled_from(["bf16", "fp32"]))
def test_a_higher_stage_never_holds_more_of_the_model(ranks: int, precision: str) -> None:
    held = [memory(SEVEN, passing(0), ranks=ranks, zero_stage=stage, precision=precision) for stage in (0, 1, 2, 3)]  # type: ignore[arg-type]
    states = [each.weights + each.gradients + each.optimizer for each in held]
    assert states == sorted(states, reverse=True)


def test_gradients_on_their_way_are_copied_when_a_bucket_of_them_is_full() -> None:
    bucket = 2 * REDUCE_BUCKET
    early, late = (Held(0, ((10 * GB, finished), (0, 2 * SEVEN.total))) for finished in (bucket // 2, bucket))
    for passed, copies in [(early, 1), (late, 2)]:
        assert memory(SEVEN, passed, ranks=64, zero_stage=2, precision="bf16").buffers == copies * bucket


def test_sixteen_bytes_a_parameter_on_one_rank() -> None:
    """Rajbhandari et al., 2020, section 3.1: 2 for weights, 2 for gradients, 12 for Adam with its fp32 copy."""
    alone = memory(SEVEN, passing(0), ranks=1, zero_stage=0, precision="bf16")
    assert alone.weights + alone.gradients + alone.optimizer == 16 * SEVEN.total


@given(st.integers(1, 64), st.sampled_from(["fp32", "bf16"]))
def test_muon_keeps_one_number_less_for_every_element_of_its_matrices(ranks: int, precision: Precision) -> None:
    for stage in (0, 1, 2):
        adamw, muon = (
            memory(SEVEN, passing(0), ranks=ranks, zero_stage=stage, precision=precision, optimizer=optimizer)
            for optimizer in ("adamw", "muon")
        )
        spared = 4 * SEVEN.matrices // (ranks if stage else 1)
        assert abs(adamw.optimizer - muon.optimizer - spared) <= 8, "to the rounding of parts"
        assert muon.buffers >= adamw.buffers, "it gathers its matrices"


def test_muon_is_offered_no_stage_that_cuts_its_matrices() -> None:
    assert {layout.zero_stage for layout in alternatives(4, "muon")} == {1, 2}
