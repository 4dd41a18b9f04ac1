"""Rounds that end as soon as enough updates came: who is slow keeps its work, and its update's lateness is told."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from hub.rounds.exchange import Averaged, Round
from hub.rounds.parts import Part, Start, part_of
from hub.rounds.patience import AWAY
from hub.rounds.plan import Site
from learning.aggregation.low_rank import products
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Buffer, LocalTraining
from protos.documents.rounds import RoundTask
from tests.hub.rounds.postbox import DATASET, Answerer, Postbox, answer
from trust.canonical import parse
from trust.digests import digest_bytes
from trust.errors import Invalid, Unavailable

FILES = {"model.safetensors": b"weights"}
MEMBERS = ("law", "medicine", "slow")
GIVEN: dict[str, Any] = {
    "name": "rounds",
    "base_model": "tiny-1",
    "rounds": 9,
    "minimum_members": 3,
    "averaging": "products",
    "buffer": Buffer(updates=2, most_late=2),
    "training": LocalTraining(steps=1, batch_size=2, sequence_length=16, learning_rate=0.1),
}


@pytest.fixture(autouse=True)
def _in_a_server_task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def start(number: int) -> dict[str, Tensor]:
    """Every round starts from another A."""
    a = torch.randn(2, 3, generator=torch.Generator().manual_seed(number))
    return {"x.lora_A.weight": a, "x.lora_B.weight": torch.zeros(4, 2)}


def learned(number: int, by: float) -> dict[str, Tensor]:
    """What a site makes of a round's start."""
    return {**start(number), "x.lora_B.weight": torch.full((4, 2), by)}


def task_of(message: Message) -> RoundTask:
    document = message.content.config_records["task"]["document"]
    assert isinstance(document, bytes)
    return RoundTask.read(parse(document))


class Federation:
    """Three sites over a postbox, and the rounds that are led over it. A site of `busy` says nothing while it is in there."""

    def __init__(self, by: Mapping[str, float] | None = None, **more: Any) -> None:
        self.spec = CampaignSpec.read({**GIVEN, **more})
        self.by = {"law": 0.1, "medicine": 0.2, "slow": 0.4, **(by or {})}
        self.busy: set[str] = set()
        self.said: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self.sites = {m: Site(member=m, key=digest_bytes(m.encode()), datasets=(DATASET,)) for m in MEMBERS}
        self.postbox = Postbox({member: self._site(member) for member in MEMBERS})
        self._afoot: dict[str, Part] = {}

    def _site(self, member: str) -> Answerer:
        def at(message: Message) -> RecordDict | None:
            number = task_of(message).round
            if (member, number) not in self.asked:
                self.asked.append((member, number))
            if member in self.busy:
                return None
            return answer(learned(number, self.by[member]), round=number)(message)

        return at

    def lead(self, number: int) -> Averaged:
        entry = FileEntry(path="model.safetensors", digest=digest_bytes(b"%d" % number), size=len(b"weights"))
        task = RoundTask(campaign="campaign-a", round=number, spec=self.spec, files=(entry,))
        asked = Round(self.postbox, task, FILES, start(number), self.sites.get, self.said.append, afoot=self._afoot)
        try:
            return asked.run(self.sites.values())
        finally:
            self._afoot = asked.afoot


def told(averaged: Averaged) -> dict[str, tuple[int, float]]:
    return {part.member: (part.late, round(part.weight, 4)) for part in averaged.contributions if not part.excluded}


def why(averaged: Averaged, member: str) -> str:
    (part,) = [part for part in averaged.contributions if part.member == member]
    return part.excluded or part.why


def test_a_round_ends_when_the_buffer_is_full_and_who_is_at_work_stays_at_it() -> None:
    """Its update counts in the round in which it comes, by its product, and less for every round that it is late."""
    federation = Federation()
    federation.busy = {"slow"}
    first = federation.lead(1)
    assert told(first) == {"law": (0, 0.5), "medicine": (0, 0.5)}
    assert why(first, "slow") == "its site is at work on round 1 still; its update counts when it comes"
    federation.busy = {"medicine"}
    second = federation.lead(2)
    assert told(second) == {"law": (0, 0.5), "slow": (1, 0.3536)}
    assert why(second, "slow") == "every member counts the same; 1 round late, so it counts 70.7% of that"
    assert federation.asked.count(("slow", 2)) == 0  # one task at a time, and one update in a round
    law, slow = products(learned(2, 0.1)), products(learned(1, 0.4))
    torch.testing.assert_close(products(second.adapter)["x"], law["x"] / 2 + slow["x"] / 2 * 2**-0.5)


def test_who_is_too_late_gets_the_newest_task() -> None:
    federation = Federation()
    federation.busy = {"slow"}
    for number in (1, 2, 3, 4):
        federation.lead(number)
    assert [number for member, number in federation.asked if member == "slow"] == [1, 4]
    federation.busy = {"law"}
    assert told(federation.lead(5))["slow"] == (1, 0.3536)


def test_a_late_update_passes_the_same_guards() -> None:
    federation = Federation(by={"slow": float("nan")}, patience={"seconds": 1})
    federation.busy = {"slow"}
    federation.lead(1)
    federation.busy = {"law"}
    second = federation.lead(2)
    assert told(second) == {"medicine": (0, 1.0)}
    assert "NaN" in why(second, "slow")


def test_a_late_update_answers_the_task_that_its_site_was_sent() -> None:
    federation = Federation(patience={"seconds": 1})
    federation.busy = {"slow"}
    federation.lead(1)
    federation.busy = {"law"}
    federation.postbox.answerers["slow"] = answer(learned(2, 0.4), round=2)
    assert why(federation.lead(2), "slow") == "The update did not start from what round 2 sent out."


def test_at_its_deadline_a_round_goes_on_with_what_came() -> None:
    federation = Federation(patience={"seconds": 1})
    federation.busy = {"medicine", "slow"}
    assert told(federation.lead(1)) == {"law": (0, 1.0)}
    federation.busy = {"law"}
    assert told(federation.lead(2)) == {"medicine": (1, 0.3536), "slow": (1, 0.3536)}


def test_a_round_with_too_few_is_begun_anew() -> None:
    federation = Federation(patience={"seconds": 1, "minimum_updates": 2})
    federation.busy = {"medicine", "slow"}
    with pytest.raises(Unavailable, match="needs 2"):
        federation.lead(1)


def test_where_a_round_owns_its_tasks_nothing_is_left_of_it() -> None:
    federation = Federation(buffer=None)
    assert len(told(federation.lead(1))) == 3
    assert federation._afoot == {}


def test_a_site_that_is_gone_for_good_is_waited_for_once_and_not_in_every_round() -> None:
    federation = Federation(buffer=None)
    del federation.postbox.answerers["slow"]
    since = time.monotonic() - 20 * AWAY
    federation._afoot = {"slow": Part(federation.sites["slow"], last_seen=since)}
    for number in (1, 2):
        parts = {part.member: part for part in federation.lead(number).contributions}
        assert re.fullmatch(r"its site was away for \d{4} s", parts["slow"].excluded)
        assert parts["law"].weight == 0.5
        assert {member: part.last_seen for member, part in federation._afoot.items()} == {"slow": since}


def _at_work(site: Site, number: int) -> Part:
    return Part(site, message="m", start=Start(number, digest_bytes(b"task"), {}), sent_at=1.0)


def test_a_site_with_another_key_is_not_the_one_that_is_at_work() -> None:
    site = Site(member="law", key=digest_bytes(b"one"))
    afoot = {"law": _at_work(site, 3)}
    assert part_of(site, afoot, 5, 2) is afoot["law"]
    for other, number in ((site.model_copy(update={"key": digest_bytes(b"two")}), 5), (site, 6)):
        assert part_of(other, afoot, number, 2) is not afoot["law"]


def test_no_site_is_given_up_for_its_silence_where_late_updates_count() -> None:
    part = _at_work(Site(member="law", key=digest_bytes(b"one")), 3)
    assert part.seen(0.0, Buffer(updates=1)).silent == 0
    assert part.seen(0.0).silent > 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"averaging": "factors"}, "by its product alone"),
        ({"averaging": "median"}, "by its product alone"),
        ({"buffer": Buffer(updates=4)}, "minimum_members"),
        ({"patience": {"minimum_updates": 3}}, "minimum_updates"),
        (
            {
                "privacy": {
                    "guarantee": "central",
                    "clip": 1.0,
                    "noise": 1.0,
                    "delta": 1e-6,
                    "maximum_epsilon": 1e3,
                }
            },
            "products shows single updates",
        ),
    ],
)
def test_a_buffer_that_contradicts_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        CampaignSpec.read({**GIVEN, **given})
