"""What a round makes of the answers it gets: good ones are averaged, everything else is left out with its reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from hub.rounds.exchange import UPDATE, Averaged, Round, array_bytes, bytes_array
from hub.rounds.plan import Site
from learning.compression import How, compress
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec, Learned, LocalTraining, RoundReply, RoundTask, Transfer
from protos.documents.privacy import Privacy
from tests.hub.rounds.postbox import DATASET, Answerer, Postbox, answer
from trust.digests import digest_bytes
from trust.errors import Unavailable

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
REFERENCE = {"a": torch.ones(2, 3), "b": torch.zeros(4)}


@pytest.fixture(autouse=True)
def _in_a_server_task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def lead(
    answerers: dict[str, Answerer],
    weighting: str = "equal",
    gone: str = "",
    reference: dict[str, Tensor] = REFERENCE,
    averaging: str = "factors",
    transfer: str = "fp32",
    privacy: dict[str, Any] | None = None,
    heard: list[str] | None = None,
) -> Averaged:
    """A round; the consent of `gone` stops counting while it goes on."""
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=2,
        minimum_members=5,
        training=training,
        weighting=weighting,
        averaging=averaging,
        transfer=Transfer(how=transfer),
        privacy=Privacy.read(privacy) if privacy else None,
    )
    files = tuple(FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in FILES.items())
    task = RoundTask(campaign="campaign-a", round=2, spec=spec, files=files)
    sites = {
        name: Site(member=name, key=digest_bytes(name.encode()), datasets=(DATASET, f"{DATASET}-2"))
        for name in answerers
    }
    standing = {name: site for name, site in sites.items() if name != gone}
    say = (heard if heard is not None else []).append
    return Round(Postbox(answerers), task, FILES, reference, standing.get, say).run(sites.values())


def moved(by: float) -> dict[str, Tensor]:
    return {name: tensor + by for name, tensor in REFERENCE.items()}


def test_updates_are_averaged_and_credited() -> None:
    averaged = lead({"law": answer(moved(0.1)), "medicine": answer(moved(0.3))})
    assert torch.allclose(averaged.adapter["a"], torch.full((2, 3), 1.2))
    assert [(part.member, part.weight) for part in averaged.contributions] == [("law", 0.5), ("medicine", 0.5)]
    assert averaged.tokens == 14


def test_a_tasks_files_travel_as_one_array_in_the_order_that_it_names() -> None:
    got: list[dict[str, bytes]] = []

    def site(message: Message) -> RecordDict:
        got.append(array_bytes(message.content, "files", {"files": 9}))
        return answer(moved(0.1))(message)

    lead({"law": site})
    assert got == [{"files": b"{}weights"}]


def test_what_was_learned_from_is_credited_too() -> None:
    two = [{"dataset": DATASET, "tokens": 4}, {"dataset": f"{DATASET}-2", "tokens": 3}]
    averaged = lead({"law": answer(moved(0.1), data=two), "poison": answer(moved(0.1), update=digest_bytes(b"other"))})
    assert averaged.data == (Learned(dataset=DATASET, tokens=4), Learned(dataset=f"{DATASET}-2", tokens=3))


def test_an_update_whose_consent_was_disowned_meanwhile_is_left_out() -> None:
    averaged = lead({"law": answer(moved(0.1)), "medicine": answer(moved(0.3))}, gone="medicine")
    assert [part.excluded for part in averaged.contributions] == ["", "Its member's consent does not count any more."]
    assert torch.allclose(averaged.adapter["a"], torch.full((2, 3), 1.1))


def test_examples_may_weigh() -> None:
    averaged = lead(
        {"law": answer(moved(0.0), examples=1), "medicine": answer(moved(0.4), examples=3)}, weighting="examples"
    )
    assert torch.allclose(averaged.adapter["b"], torch.full((4,), 0.3))


@pytest.mark.parametrize("how", ["bf16", "int8", "top-k"])
def test_changes_may_travel_in_fewer_bytes(how: How) -> None:
    """What the hub averages is where the round began and what came; whatever else comes is left out."""
    change = {"a": torch.full((2, 3), 0.5), "b": torch.tensor([0.0, 1.0, 0.0, 0.0])}
    sent = answer(compress(change, how, keep=1.0).data)
    averaged = lead({"law": sent, "other": answer(moved(0.1))}, transfer=how)
    for name, start in REFERENCE.items():
        torch.testing.assert_close(averaged.adapter[name], start + change[name], rtol=1e-2, atol=1e-2)
    assert [bool(part.excluded) for part in averaged.contributions] == [False, True]


def test_products_are_averaged_exactly_where_the_spec_says_so() -> None:
    """What two members have in common stays, though they write it with other signs; and an unfit update is still left out."""
    names = ("x.lora_A.weight", "x.lora_B.weight")
    sent = dict(zip(names, (torch.ones(2, 3), torch.ones(4, 2)), strict=True))
    other = {name: -tensor for name, tensor in sent.items()}
    answerers = {"law": answer(sent), "medicine": answer(other), "poison": answer(sent | {names[0]: torch.ones(3, 3)})}
    exact = lead(answerers, reference=sent, averaging="products")
    assert torch.allclose(exact.adapter[names[1]] @ exact.adapter[names[0]], torch.full((4, 3), 2.0))
    assert [part.weight for part in exact.contributions] == [0.5, 0.5, 0]
    assert bool((lead(answerers, reference=sent).adapter[names[0]] == 0).all())


CENTRAL = {"guarantee": "central", "clip": 0.1, "noise": 0.01, "delta": 1e-6, "maximum_epsilon": 1e5}


def test_noise_of_the_hub_comes_on_clipped_updates_and_neither_losses_nor_norms_are_told() -> None:
    """Without noise the two would come to 1.05 and 0.95 in one coordinate: clipped to 0.1, one up and one down."""
    up, down = ({**REFERENCE, "b": torch.tensor([by, 0.0, 0.0, 0.0])} for by in (70.0, -0.1))
    heard: list[str] = []
    averaged = lead({"law": answer(up), "medicine": answer(down)}, privacy=CENTRAL, heard=heard)
    moved_by = torch.cat([(averaged.adapter[name] - start).flatten() for name, start in REFERENCE.items()])
    assert 0 < float(moved_by.abs().max()) < 10 * 0.01 * 0.1 / 2
    assert len(moved_by.unique()) == len(moved_by)
    for part in averaged.contributions:
        assert (part.excluded, part.weight, part.withheld) == ("", 0.5, True)
        assert (part.loss_first, part.loss_last, part.update_norm) == (0, 0, 0)
    assert any("law: its losses are withheld" in line for line in heard)
    assert not any("loss 3" in line for line in heard)


def test_noise_of_a_site_moves_its_update_far_and_that_far_alone() -> None:
    local = {"guarantee": "local", "clip": 1, "noise": 100, "delta": 1e-6, "maximum_epsilon": 1e5}
    size = sum(tensor.numel() for tensor in REFERENCE.values())
    noised, beyond = moved(100.0), moved(1000.0)
    assert 100 * size**0.5 > 10 * sum(float(tensor.square().sum()) for tensor in REFERENCE.values()) ** 0.5
    averaged = lead({"law": answer(noised), "poison": answer(beyond)}, privacy=local)
    assert [bool(part.excluded) for part in averaged.contributions] == [False, True]
    assert torch.allclose(averaged.adapter["b"], noised["b"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (answer({**moved(0.1), "a": torch.full((2, 3), torch.nan)}), "NaN"),
        (answer({"a": torch.ones(2, 3)}), "lacks the tensor b"),
        (answer({**moved(0.1), "a": torch.ones(3, 2)}), "shape"),
        (answer({**moved(0.1), "a": torch.ones(2, 3, dtype=torch.float64)}), "float64"),
        (answer(moved(1e6)), "bound"),
        (answer(b"no safetensors"), "cannot be read"),
        (answer(moved(0.1), round=1), "another round"),
        (answer(moved(0.1), campaign="campaign-b"), "another round"),
        (answer(moved(0.1), update=digest_bytes(b"other")), "not the one"),
        (answer(moved(0.1), {}), "lacks"),
        (answer(moved(0.1), {UPDATE: bytes_array(b"0" * (4 << 20))}), "bytes"),
        (answer(moved(0.1), refusal="the site's policy"), "refused: the site's policy"),
        (answer(moved(0.1), data=[]), "does not say which datasets"),
        (answer(moved(0.1), data=[{"dataset": DATASET, "tokens": 1}] * 2), "each once"),
        (answer(moved(0.1), data=[{"dataset": "data-of-others", "tokens": 7}]), "learned from data-of-others"),
        (answer(moved(0.1), data=[{"dataset": DATASET, "tokens": 8}]), "than in all"),
        (answer(moved(0.1), loss_last=-1), "loss_last"),
        (answer(moved(0.1), more=1), "more"),
        (answer(moved(0.1), examples=-5), "examples"),
        (lambda message: RecordDict(), "no document"),
        (lambda message: RecordDict({"reply": ConfigRecord({"document": b"{"})}), ""),
    ],
)
def test_a_bad_answer_is_left_out_and_the_round_goes_on(bad: Answerer, reason: str) -> None:
    averaged = lead({"law": answer(moved(0.1)), "poison": bad})
    good, left_out = averaged.contributions
    assert (good.weight, good.excluded) == (1, "")
    assert reason in left_out.excluded
    assert left_out.excluded
    assert left_out.weight == 0
    assert torch.allclose(averaged.adapter["a"], torch.full((2, 3), 1.1))


def test_a_round_without_any_update_says_why() -> None:
    with pytest.raises(Unavailable, match="poison: The site refused: busy"):
        lead({"poison": answer(moved(0.1), refusal="busy")})


def test_a_bad_update_that_was_turned_away_is_one_less_to_stand_up_to_and_a_refusal_is_not() -> None:
    two = {"law": answer(moved(0.1)), "medicine": answer(moved(0.1))}
    averaged = lead({**two, "poison": answer(moved(1e6))}, averaging="trimmed-mean")
    assert [part.weight for part in averaged.contributions] == [0.5, 0.5, 0]
    with pytest.raises(Unavailable, match="2 valid updates came and the round needs 3"):
        lead({**two, "other": answer(moved(0.1), refusal="busy")}, averaging="trimmed-mean")


def test_a_reply_is_a_closed_document() -> None:
    assert set(RoundReply.model_fields) == {
        "campaign",
        "round",
        "refusal",
        "update",
        "examples",
        "tokens",
        "loss_first",
        "loss_last",
        "data",
    }
