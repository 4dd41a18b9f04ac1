"""What a round makes of the answers it gets: good ones are averaged, everything else is left out with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from hub.rounds.exchange import Averaged, Round
from hub.rounds.plan import Site
from hub.rounds.rewards import metrics
from learning.compression import How, compress
from learning.updates import save_tensors
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Experts, LocalTraining, Patience, Rewards, Transfer
from protos.documents.privacy import Privacy
from protos.documents.rewards import Rewarded
from protos.documents.rounds import Learned, RoundReply, RoundTask
from protos.transport.contents import data_of
from tests.hub.rounds.postbox import DATASET, Answerer, Postbox, answer
from trust.digests import digest_bytes
from trust.errors import Unavailable

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
REFERENCE = {"a": torch.ones(2, 3), "b": torch.zeros(4)}
REWARDED = {"first": 0.25, "last": 0.75, "divergence": 0.5, "length": 9.0}


@pytest.fixture(autouse=True)
def _in_a_server_task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def lead(
    answerers: dict[str, Answerer],
    weighting: str = "equal",
    gone: str = "",
    reference: dict[str, Tensor] = REFERENCE,
    transfer: str = "fp32",
    privacy: dict[str, Any] | None = None,
    rewards: Rewards | None = None,
    say: Callable[[str], None] = lambda message: None,
    furthest: float | None = None,
    **more: Any,
) -> Averaged:
    """A round; the consent of `gone` stops counting while it goes on."""
    training = LocalTraining(steps=1, batch_size=2, sequence_length=16, learning_rate=0.1)
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=2,
        minimum_members=5,
        training=training,
        objective="grpo" if rewards else "continued-training",
        rewards=rewards,
        weighting=weighting,
        transfer=Transfer(how=transfer),
        privacy=Privacy.read(privacy) if privacy else None,
        **more,
    )
    files = tuple(FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in FILES.items())
    task = RoundTask(campaign="campaign-a", round=2, spec=spec, files=files)
    sites = {
        name: Site(member=name, key=digest_bytes(name.encode()), datasets=(DATASET, f"{DATASET}-2"))
        for name in answerers
    }
    standing = {name: site for name, site in sites.items() if name != gone}
    taken = {digest_bytes(save_tensors(moved(0.5)))}  # by a round before
    return Round(Postbox(answerers), task, FILES, reference, standing.get, say, taken, furthest=furthest).run(
        sites.values()
    )


def moved(by: float) -> dict[str, Tensor]:
    return {name: tensor + by for name, tensor in REFERENCE.items()}


def test_updates_are_averaged_and_credited() -> None:
    averaged = lead({"law": answer(moved(0.1)), "medicine": answer(moved(0.3))})
    assert torch.allclose(averaged.adapter["a"], torch.full((2, 3), 1.2))
    assert [(part.member, part.weight) for part in averaged.contributions] == [("law", 0.5), ("medicine", 0.5)]
    assert averaged.tokens == 14


def test_a_loss_may_be_as_large_as_it_is() -> None:
    """A preference that a model holds the other way round costs beta times the whole answer's nats: no reason to lose a round."""
    averaged = lead({"law": answer(moved(0.1), loss_first=250_000.0, loss_last=1200.0)})
    (part,) = averaged.contributions
    assert (part.excluded, part.loss_first, part.loss_last) == ("", 250_000.0, 1200.0)


def test_a_tasks_files_travel_together_in_the_order_that_it_names() -> None:
    got: list[bytes] = []

    def site(message: Message) -> RecordDict:
        got.append(data_of(message.content, "task", 9))
        return answer(moved(0.1))(message)

    lead({"law": site})
    assert got == [b"{}weights"]


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
    averaged = lead({"law": answer(up), "medicine": answer(down)}, privacy=CENTRAL, say=heard.append)
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
        (answer(moved(0.1), round=1), "of round 1; this is round 2"),
        (answer(moved(0.1), campaign="campaign-b"), "another campaign"),
        (answer(moved(0.2), task=digest_bytes(b"of the Flower run before")), "did not start from what round 2 sent"),
        (answer(moved(0.2), task=None), "did not start from what round 2 sent"),
        (answer(moved(0.5)), "averaged before"),
        (answer(moved(0.1)), "averaged before"),
        (answer(moved(0.1), update=digest_bytes(b"other")), "not the one"),
        (answer(moved(0.1), b""), "not the one"),
        (answer(moved(0.1), b"0" * (4 << 20)), "bytes"),
        (answer(moved(0.1), refusal="the site's policy"), "refused: the site's policy"),
        (
            answer(moved(0.1), campaign="unknown", round=1, refusal="spec.new: is not known"),
            "refused: spec.new: is not",
        ),
        (answer(moved(0.1), data=[]), "does not say which datasets"),
        (answer(moved(0.1), data=[{"dataset": DATASET, "tokens": 1}] * 2), "each once"),
        (answer(moved(0.1), data=[{"dataset": "data-of-others", "tokens": 7}]), "learned from data-of-others"),
        (answer(moved(0.1), data=[{"dataset": DATASET, "tokens": 8}]), "than in all"),
        (answer(moved(0.1), loss_last=-1001), "loss_last"),
        (answer(moved(0.1), more=1), "more"),
        (answer(moved(0.1), rewarded=REWARDED), "tells of rewards"),
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


def test_a_round_that_learns_from_rewards_tells_what_it_came_to() -> None:
    """To the watchers, and in each member's part; a site that tells nothing of it is left out."""
    rewards, said = Rewards(policies=(digest_bytes(b"policy"),), group=2, max_new_tokens=8), list[str]()
    silent, told = answer(moved(0.1)), answer(moved(0.1), rewarded=REWARDED, loss_last=-0.5)
    averaged = lead({"law": told, "medicine": silent}, rewards=rewards, say=said.append)
    law, medicine = averaged.contributions
    assert law.rewarded == Rewarded.read(REWARDED)
    assert "tells of rewards" in medicine.excluded
    assert any(
        "law: reward 0.250 to 0.750, 0.5 nats per token from where it began, 9.0 tokens" in each for each in said
    )
    values = {name: value for _, name, value in metrics(2, [law])}
    assert values == {"loss/law": -0.5, "reward/law": 0.75, "kl/law": 0.5, "length/law": 9.0}


def _five_honest() -> list[dict[str, Tensor]]:
    """A common way, and as much of each member's own around it."""
    generator = torch.Generator().manual_seed(3)
    way = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in REFERENCE.items()}
    return [
        {
            name: start + 0.1 * (way[name] + torch.randn(start.shape, generator=generator))
            for name, start in REFERENCE.items()
        }
        for _ in range(5)
    ]


HONEST = _five_honest()
ATTACKS: dict[str, tuple[Answerer, str]] = {
    "sign flip": (answer({name: 2 * start - HONEST[0][name] for name, start in REFERENCE.items()}), ""),
    "x1000": (answer({name: start + 1000 * (HONEST[0][name] - start) for name, start in REFERENCE.items()}), "bound"),
    "NaN": (answer({name: torch.full_like(start, torch.nan) for name, start in REFERENCE.items()}), "NaN"),
    "wrong shape": (answer(HONEST[0] | {"a": torch.ones(3, 2)}), "shape"),
    "stale": (answer(HONEST[0], round=1), "of round 1"),
    "of a round begun anew": (answer(HONEST[0], task=digest_bytes(b"before")), "did not start"),
}
RULES: dict[str, dict[str, Any]] = {
    "krum": {"averaging": "krum"},
    "multi-krum": {"averaging": "multi-krum"},
    "trimmed mean": {"averaging": "trimmed-mean"},
    "median": {"averaging": "median"},
    "clipped mean": {"clip_norm": 0.2},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_one_bad_site_of_five_does_not_move_the_round_beyond_the_honest_spread(attack: str, rule: str) -> None:
    """What a guard finds is left out with its reason; what none can see, the rule bears."""
    bad, reason = ATTACKS[attack]
    honest = {f"member-{number}": answer(update) for number, update in enumerate(HONEST[1:])}
    alone, found = (lead({**honest, "bad": each}, **RULES[rule]) for each in (ATTACKS["NaN"][0], bad))
    (left_out,) = (part for part in found.contributions if part.member == "bad")
    assert reason in left_out.excluded
    assert bool(reason) <= (left_out.weight == 0)
    middle = {name: torch.stack([update[name] for update in HONEST[1:]]).mean(0) for name in REFERENCE}
    spread = max(away(update, middle) for update in HONEST[1:])
    assert away(found.adapter, alone.adapter) <= spread
    if reason and rule != "krum" and "krum" not in rule:
        assert away(found.adapter, alone.adapter) == 0, "as if it had not come"


def away(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.cat([(one[name] - other[name]).flatten() for name in one]).norm())


def test_rewards_are_no_part_of_a_guarantee_of_privacy() -> None:
    """A site that tells them all the same is left out, and nothing of rewards is told."""
    rewards, said = Rewards(policies=(digest_bytes(b"policy"),), group=2, max_new_tokens=8), list[str]()
    local = {"guarantee": "local", "clip": 1.0, "noise": 1.0, "delta": 1e-5, "maximum_epsilon": 1e3}
    answerers = {"law": answer(moved(0.1)), "medicine": answer(moved(0.1), rewarded=REWARDED)}
    law, medicine = lead(answerers, rewards=rewards, privacy=local, say=said.append).contributions
    assert (law.excluded, law.rewarded, metrics(2, [law])) == ("", None, ((2, "updates", 1.0),))
    assert "tells of rewards" in medicine.excluded
    assert not any("reward 0" in each for each in said)


def test_a_round_without_any_update_says_why() -> None:
    with pytest.raises(Unavailable, match="poison: The site refused: busy"):
        lead({"poison": answer(moved(0.1), refusal="busy")})


@pytest.mark.parametrize(("needed", "counts"), [(1, True), (2, False)])
def test_at_its_deadline_a_round_goes_on_without_the_slow_where_enough_came(needed: int, counts: bool) -> None:
    answerers: dict[str, Answerer] = {"law": answer(moved(0.1)), "slow": lambda message: None}
    patience = Patience(seconds=1, minimum_updates=needed)
    if counts:
        law, slow = lead(answerers, patience=patience).contributions
        assert (law.weight, slow.weight) == (1, 0)
        assert slow.excluded == "the round's deadline passed while its site had the task"
    else:
        with pytest.raises(Unavailable, match=r"needs 2 .law: valid; slow: the round's deadline"):
            lead(answerers, patience=patience)


def test_a_bad_update_that_was_turned_away_is_one_less_to_stand_up_to_and_a_refusal_is_not() -> None:
    two = {"law": answer(moved(0.1)), "medicine": answer(moved(0.2))}
    averaged = lead({**two, "poison": answer(moved(1e6))}, averaging="trimmed-mean")
    assert [part.weight for part in averaged.contributions] == [0.5, 0.5, 0]
    with pytest.raises(Unavailable, match="2 valid updates came and the round needs 3"):
        lead({**two, "other": answer(moved(0.1), refusal="busy")}, averaging="trimmed-mean")


def test_a_reply_is_a_closed_document() -> None:
    assert set(RoundReply.model_fields) == {
        "campaign",
        "round",
        "task",
        "refusal",
        "update",
        "examples",
        "tokens",
        "loss_first",
        "loss_last",
        "rewarded",
        "data",
    }


def test_weights_that_train_themselves_start_from_nothing_and_are_held_to_a_length_of_their_own() -> None:
    """Whole, or in fewer bytes; ten times the length of where they start would be nothing."""
    still = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in REFERENCE.items()}
    honest = {name: torch.full(tensor.shape, 0.1) for name, tensor in REFERENCE.items()}
    far = {name: torch.full(tensor.shape, 9.0) for name, tensor in REFERENCE.items()}
    answerers = {"law": answer(honest), "poison": answer(far)}
    averaged = lead(answerers, reference=still, furthest=2.0, trainable="full")
    torch.testing.assert_close(averaged.adapter, honest)
    (reason,) = (part.excluded for part in averaged.contributions if part.member == "poison")
    assert "over the bound of 2" in reason
    sent = answer(compress(honest, "int8").data)
    small = lead({"law": sent}, reference=still, furthest=2.0, trainable="full", transfer="int8")
    torch.testing.assert_close(small.adapter, honest, rtol=1e-2, atol=1e-2)


def test_a_member_sends_its_own_experts_and_is_excluded_with_those_of_others() -> None:
    still = {name: torch.zeros(()).expand(3) for name in ("down_proj.1", "down_proj.2")}
    own = {"law": (1,), "medicine": (2,), "poison": (2,), "d": (2,), "e": (2,)}
    answerers = {
        "law": answer({"down_proj.1": torch.full((3,), 0.5)}),
        "medicine": answer({"down_proj.2": torch.full((3,), 0.2)}),
        "poison": answer({"down_proj.1": torch.full((3,), 0.9)}),
    }
    shape = {"trainable": "experts", "experts": Experts(own=own)}
    averaged = lead(answerers, reference=still, furthest=2.0, **shape)
    torch.testing.assert_close(
        averaged.adapter, {"down_proj.1": torch.full((3,), 0.5), "down_proj.2": torch.full((3,), 0.2)}
    )
    (reason,) = (part.excluded for part in averaged.contributions if part.member == "poison")
    assert "lacks the tensor down_proj.2" in reason
