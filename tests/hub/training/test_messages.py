"""What nodes say is bounded and typed before it counts."""

from __future__ import annotations

import pytest

from hub.training.messages import MAX_NOTE, metrics_of, note_of, skipped_of
from protos.coalition.v1 import common_pb2, training_pb2
from tests.hub.training.test_scheduler import SPEC
from trust.errors import Invalid

TRAINING = SPEC.training.model_copy(update={"rollbacks": 2})


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("loss", True),
        ("loss/law", True),
        ("held_out_loss/civil-law", True),
        ("mfu", True),
        ("loss/", False),
        ("loss/Law", False),
        ("loss/law/civil", False),
        ("loss\n", False),
        ("anything", False),
    ],
)
def test_metrics_have_names_that_are_known(name: str, kept: bool) -> None:
    message = training_pb2.TrainingProgress(metrics=[common_pb2.Metric(step=5, name=name, value=1.0)])
    assert metrics_of(message, 30) == ([(5, name, 1.0)] if kept else [])


def test_a_note_is_a_short_line_that_moves_no_cursor() -> None:
    said = training_pb2.TrainingProgress(message="sample:\x1b[2J\nline\u202e" + "x" * 5000)
    assert note_of(said).startswith("sample: [2J line x")
    assert len(note_of(said)) == MAX_NOTE


def test_batches_that_a_spike_skipped_are_in_the_run_and_no_more_than_its_rollbacks() -> None:
    skip = training_pb2.Skip(after=10, until=14)
    assert [(each.after, each.until) for each in skipped_of([skip, skip], TRAINING)] == [(10, 14)] * 2
    for wrong in ([skip] * 3, [training_pb2.Skip(after=14, until=14)], [training_pb2.Skip(after=10, until=31)]):
        with pytest.raises(Invalid, match="no spike can have skipped"):
            skipped_of(wrong, TRAINING)
    with pytest.raises(Invalid):
        skipped_of([training_pb2.Skip(after=-1, until=4)], TRAINING)
    with pytest.raises(Invalid):
        skipped_of([skip], SPEC.training)
