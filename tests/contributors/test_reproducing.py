"""An evaluation computed again: what is the same, what other hardware explains, and what it does not."""

from __future__ import annotations

import pytest

from contributors.reproducing import again, differing, unexplained
from learning.scoring import score
from protos.documents.evaluations import Evaluation, Metric, Sample, TaskScore
from protos.documents.statements import HUB

RECORDED = [
    Sample(task="terms", item=n, log_likelihoods=(-20.0, -21.0), lengths=(4, 4), answer=int(n < 10)) for n in range(40)
]
NOWHERE = "sha256:" + "0" * 64


def claim(samples: list[Sample], metric: Metric = "acc") -> Evaluation:
    found = score(metric, samples)
    stated = TaskScore(
        task="terms",
        metric=metric,
        value=found.value,
        standard_error=found.standard_error,
        items=found.items,
        baseline=found.baseline,
    )
    return Evaluation(
        hub="europe",
        signer=HUB,
        model="tiny-1",
        model_payload=NOWHERE,
        suite="suite-1",
        suite_payload=NOWHERE,
        harness="lm-eval",
        scores=(stated,),
        seconds=1,
    )


def changed(item: int, **update: object) -> list[Sample]:
    return [sample.model_copy(update=update) if sample.item == item else sample for sample in RECORDED]


def test_the_same_log_is_the_same() -> None:
    (task,) = again(claim(RECORDED), RECORDED, RECORDED)
    assert (task.same, task.turned, task.furthest, task.value) == (40, 0, 0, task.recorded)
    assert list(unexplained(RECORDED, RECORDED)) == []


def test_last_digits_and_a_close_answer_are_explained_by_other_hardware() -> None:
    ours = changed(3, log_likelihoods=(-20.6, -20.5))
    (task,) = again(claim(RECORDED), RECORDED, ours)
    assert (task.same, task.turned) == (39, 1)
    assert task.furthest == pytest.approx(0.6)
    assert (list(unexplained(RECORDED, ours)), list(differing(task))) == ([], [])


def test_a_single_item_that_was_made_up_is_named_though_the_score_would_pass() -> None:
    """One of forty: within what a score may differ by."""
    ours = changed(3, log_likelihoods=(-200.0, -21.0))
    (task,) = again(claim(RECORDED), RECORDED, ours)
    assert list(differing(task)) == []
    assert list(unexplained(RECORDED, ours)) == [
        "Evaluated again, item 3 of terms has a log likelihood of -200.00, not -20.00: other hardware does not explain that."
    ]


@pytest.mark.parametrize("update", [{"lengths": (4, 5)}, {"answer": 0}, {"log_likelihoods": (-20.0,)}])
def test_another_question_is_no_reproduction(update: dict[str, object]) -> None:
    (said,) = unexplained(RECORDED, changed(3, **update))
    assert "item 3 of terms is another one" in said


def test_items_that_are_missing_are_told() -> None:
    assert list(unexplained(RECORDED, RECORDED[1:])) == ["Evaluated again, the log has other items."]


def test_a_score_that_many_items_move_is_told() -> None:
    ours = [each.model_copy(update={"log_likelihoods": (-20.0, -19.9)}) for each in RECORDED]
    (task,) = again(claim(RECORDED), RECORDED, ours)
    assert list(unexplained(RECORDED, ours)) == []
    assert list(differing(task)) == ["Evaluated again, the acc of terms is 0.2500, not 0.7500."]


def test_of_text_a_hundredth_is_explained() -> None:
    texts = [Sample(task="terms", item=n, log_likelihoods=(-90.0 - n,), lengths=(40,)) for n in range(9)]
    for far, told in ((1.005, 0), (1.02, 1)):
        ours = [each.model_copy(update={"log_likelihoods": (each.log_likelihoods[0] * far,)}) for each in texts]
        (task,) = again(claim(texts, "bits_per_byte"), texts, ours)
        assert (len(list(differing(task))), task.turned) == (told, 0)
