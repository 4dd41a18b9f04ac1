"""What compression takes from a site's update comes with the next one, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from contributors.site.feedback import Feedback
from contributors.site.training import Trained
from learning.adaptation import AdaptationResult
from learning.compression import expand
from protos.documents.base import FileEntry
from protos.documents.methods import Transfer
from protos.documents.rounds import RoundTask
from tests.contributors.site.test_policy import SPEC
from trust.digests import digest_bytes
from trust.errors import Invalid

START = {"a": torch.zeros(2, 5), "b": torch.zeros(3)}
CHANGE = {"a": torch.arange(10.0).view(2, 5) + 1, "b": torch.tensor([3.0, -2.0, 1.0])}


def task(number: int, model: bytes | None = None, *, feedback: bool = True) -> RoundTask:
    """Of a round that begins with another model than the others, unless it is said with which."""
    data = str(number).encode() if model is None else model
    file = FileEntry(path="model.safetensors", digest=digest_bytes(data), size=len(data))
    spec = SPEC.model_copy(update={"transfer": Transfer(how="top-k", keep=0.2, feedback=feedback)})
    return RoundTask(campaign="campaign-a", round=number, spec=spec, files=(file,))


def trained(change: dict[str, Tensor]) -> Trained:
    return Trained(change, START, 1, AdaptationResult(2.0, 1.0, 9, 1), ())


def sent(data: bytes) -> dict[str, Tensor]:
    return expand(data, "top-k", START)


NOTHING = trained(START)


def test_rounds_send_all_that_was_learned_in_the_end(tmp_path: Path) -> None:
    """A new process each round: what was lost is in the home, for its owner alone."""
    total = {name: torch.zeros_like(tensor) for name, tensor in START.items()}
    for number in range(1, 6):
        data = Feedback(tmp_path).update(task(number), trained(CHANGE) if number == 1 else NOTHING)
        total = {name: total[name] + tensor for name, tensor in sent(data).items()}
    torch.testing.assert_close(total, CHANGE)
    kept = list((tmp_path / "site" / "feedback" / "campaign-a").iterdir())
    assert len(kept) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)


def test_the_same_round_asked_again_is_answered_with_the_same_bytes(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.update(task(1), trained(CHANGE))
    second = feedback.update(task(2), trained(CHANGE))
    assert feedback.update(task(2), trained(CHANGE)) == second
    assert Feedback(tmp_path).update(task(2), trained(CHANGE)) == second
    assert feedback.update(task(3), trained(CHANGE)) != second
    assert feedback.update(task(1), trained(CHANGE)) == Feedback(tmp_path / "new").update(task(1), trained(CHANGE))


def test_a_round_that_was_missed_leaves_what_was_lost_for_the_next(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    first = sent(feedback.update(task(1), trained(CHANGE)))
    third = sent(feedback.update(task(3), NOTHING))
    assert third["b"].tolist() == [0.0, -2.0, 0.0]
    assert not bool((first["b"] * third["b"]).any())


def test_what_is_of_another_history_or_damaged_or_over_is_not_given_back(tmp_path: Path) -> None:
    nothing = Feedback(tmp_path / "new").update(task(1), NOTHING)
    folder = tmp_path / "site" / "feedback" / "campaign-a"

    def begun() -> Feedback:
        feedback = Feedback(tmp_path)
        feedback.update(task(1), trained(CHANGE))
        return feedback

    feedback = begun()
    feedback.update(task(2), trained(CHANGE))
    assert feedback.update(task(2, b"another"), NOTHING) == nothing
    feedback = begun()
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert feedback.update(task(2), NOTHING) == nothing
    feedback = begun()
    feedback.keep_only(["campaign-b"])
    assert not folder.exists()
    assert feedback.update(task(2), NOTHING) == nothing


def test_nothing_is_kept_where_the_campaign_does_not_say_so(tmp_path: Path) -> None:
    plain = [Feedback(tmp_path).update(task(number, feedback=False), trained(CHANGE)) for number in (1, 2)]
    assert plain[0] == plain[1]
    assert not (tmp_path / "site").exists()
    with pytest.raises(Invalid, match=r"(?i)nothing is lost in fp32"):
        Transfer.read({"feedback": True})
