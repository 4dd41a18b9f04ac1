"""A round under masks, with sites as they are: who drops out where, what the record says, and what begins anew."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from contributors.site.clientapp import _answer
from contributors.site.datasets import Declarations, write_declarations
from contributors.site.keys import SiteKey, site_key
from contributors.site.masking import Masking, Pack
from contributors.site.peers import Consented, Peers, check_seats, write_peers
from contributors.site.policy import Agreed, Agreements, write_agreements
from contributors.site.training import Trained
from hub.rounds.exchange import Averaged
from hub.rounds.masking import RECORD, MaskedRound
from hub.rounds.parts import Part
from hub.rounds.patience import AWAY
from hub.rounds.plan import Site
from learning.adaptation import AdaptationResult
from learning.privacy.ring import Ring
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.masking import Asked, Given, Masks, Refuse, Seat
from protos.documents.methods import LocalTraining
from protos.documents.rounds import Learned, RoundReply, RoundTask
from protos.transport.contents import data_of
from tests.hub.rounds.postbox import DATASET, Postbox
from trust.canonical import parse
from trust.digests import digest_bytes
from trust.errors import Unavailable

NAMES = ("law", "medicine", "physics")
FILES = {"config.json": b"{}"}
REFERENCE = {"a": torch.ones(2, 3), "b": torch.zeros(4)}
SPEC = CampaignSpec(
    name="rounds",
    base_model="tiny-1",
    rounds=2,
    minimum_members=3,
    clip_norm=1.0,
    masks=Masks(colluding=0),
    training=LocalTraining(steps=1, batch_size=2, sequence_length=16, learning_rate=0.1),
)


@pytest.fixture(autouse=True)
def _in_a_server_task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def document_of(content: RecordDict) -> bytes:
    return cast(bytes, content.config_records[RECORD]["document"])


def stage_of(message: Message) -> str:
    return Asked.read(parse(document_of(message.content))).ask.stage


@dataclass
class Sites:
    """Members' sites: real protocol, keys and records, and updates that move `b` by a number each."""

    home: Path
    moves: dict[str, float]
    leaves: dict[str, str] = field(default_factory=dict)  # the stage before which a member's site is gone
    seen: list[tuple[str, str, RecordDict]] = field(default_factory=list)
    asked: list[tuple[str, Message]] = field(default_factory=list)
    keys: dict[str, SiteKey] = field(default_factory=dict)
    masking: dict[str, Masking] = field(default_factory=dict)
    away: dict[str, Part] = field(default_factory=dict)  # as the round before left it

    def __post_init__(self) -> None:
        for name in self.moves:
            self.keys[name] = site_key(self.home / name)
        for name in self.moves:
            self.know(name, self.moves)
            self.masking[name] = Masking(self.home / name)

    def know(self, name: str, consents: Iterable[str]) -> None:
        """What the ledger tells a site."""
        home = self.home / name
        seats = tuple(Seat(member=each, site_key=self.keys[each].digest) for each in consents)
        write_peers(home, Peers(campaigns=(Consented(campaign="campaign-a", seats=seats),)))
        write_agreements(home, Agreements(campaigns=(Agreed(campaign="campaign-a", spec=SPEC),)))
        write_declarations(home, Declarations(member=name, hub="test-hub"))

    def answer(self, name: str) -> Callable[[Message], RecordDict]:
        def at(message: Message) -> RecordDict:
            stage = stage_of(message)
            if self.leaves.get(name) == stage:
                return RecordDict()  # as good as none
            self.asked.append((name, message))
            given = self.masking[name].answer(message.content, self._train(name, message.content))
            self.seen.append((name, stage, given))
            return given

        return at

    def keys_given(self) -> set[bytes]:
        """Every answer with one-time keys."""
        return {document_of(given) for _, stage, given in self.seen if stage == "keys"}

    def _train(self, name: str, content: RecordDict) -> Callable[[Pack], RecordDict]:
        def work(task: RoundTask, pack: Pack) -> tuple[RoundReply, bytes]:
            moved: dict[str, Tensor] = {**REFERENCE, "b": REFERENCE["b"] + self.moves[name]}
            learned = (Learned(dataset=DATASET, tokens=7),)
            result = AdaptationResult(loss_first=2.0, loss_last=1.0, tokens=7, steps=1)
            update = pack(task, Trained(moved, REFERENCE, 5, result, learned))
            about: dict[str, Any] = {"campaign": task.campaign, "round": task.round, "task": task.digest}
            return RoundReply(**about, update=digest_bytes(update), examples=5, tokens=7, data=learned), update

        return lambda pack: _answer(content, lambda task, files: work(task, pack))

    def lead(self, memory: Path, number: int = 1, who: Iterable[str] = NAMES) -> Averaged:
        task = RoundTask(campaign="campaign-a", round=number, spec=SPEC, files=_entries())
        sites = {name: Site(member=name, key=_node(name), datasets=(DATASET,)) for name in who}
        return _Seated(self, task, sites, memory).run(sites.values())


class _Seated(MaskedRound):
    """Seats name the sites' keys, whose digests the postbox does not know: it finds a site by its name."""

    def __init__(self, sites: Sites, task: RoundTask, known: dict[str, Site], memory: Path) -> None:
        post = _Post({name: sites.answer(name) for name in known if name not in sites.away})
        post.keys = {name: sites.keys[name].public_pem for name in known}
        real = {name: site.model_copy(update={"key": sites.keys[name].digest}) for name, site in known.items()}
        known.update(real)
        super().__init__(post, task, FILES, REFERENCE, real.get, lambda message: None, memory, sites.away)


class _Post(Postbox):
    keys: dict[str, bytes]

    def get_nodes(self) -> list[Any]:
        found = super().get_nodes()
        for node in found:
            node.public_key = self.keys[node.public_key.decode()]
        return found


def _entries() -> tuple[FileEntry, ...]:
    return tuple(FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in FILES.items())


def _node(name: str) -> str:
    return digest_bytes(name.encode())


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path, {"law": 0.1, "medicine": 0.3, "physics": 0.2})


def test_the_mean_of_masked_updates_is_that_of_the_plain_ones(sites: Sites, tmp_path: Path) -> None:
    averaged = sites.lead(tmp_path / "sum.json")
    torch.testing.assert_close(averaged.adapter["b"], torch.full((4,), 0.2), rtol=0, atol=1e-6)
    torch.testing.assert_close(averaged.adapter["a"], REFERENCE["a"], rtol=0, atol=1e-6)
    assert averaged.tokens == 21
    for part in averaged.contributions:
        assert (part.excluded, part.why, part.withheld) == ("", "one of 3 summed under masks", True)
        assert (part.weight, part.loss_last, part.update_norm) == (pytest.approx(1 / 3), 0, 0)
    updates = (data_of(given, "reply", 1 << 20) for _, stage, given in sites.seen if stage == "masked")
    sent = [np.frombuffer(data, "<u4") for data in updates]
    assert len(sent) == 3
    bare = Ring(1.0, 3).encode({**REFERENCE, "b": REFERENCE["b"] + 0.1}, REFERENCE)
    assert not any((words == bare).any() for words in sent), "an update came without masks"


@pytest.mark.parametrize(
    ("stage", "mean", "excluded", "why"),
    [
        ("keys", 0.25, "it dropped out before its keys", ""),
        ("shares", 0.25, "it dropped out before its shares", ""),
        ("masked", 0.25, "it dropped out before its masked update", ""),
        ("survivors", 0.2, "", "one of 3 summed under masks; it dropped out before its list"),
        ("opening", 0.2, "", "one of 3 summed under masks; it dropped out before its opening"),
    ],
)
def test_one_of_three_may_drop_out_anywhere(
    sites: Sites, tmp_path: Path, stage: str, mean: float, excluded: str, why: str
) -> None:
    """Of the other two, or of all where its masked update came."""
    sites.leaves["law"] = stage
    averaged = sites.lead(tmp_path / "sum.json")
    torch.testing.assert_close(averaged.adapter["b"], torch.full((4,), mean), rtol=0, atol=1e-6)
    (law,) = (part for part in averaged.contributions if part.member == "law")
    assert law.excluded.startswith(excluded)
    assert bool(law.excluded) == bool(excluded)
    assert law.why.startswith(why)


def test_a_site_that_is_gone_for_good_is_not_waited_for_again(sites: Sites, tmp_path: Path) -> None:
    gone = Part(Site(member="law", key=sites.keys["law"].digest), last_seen=time.monotonic() - 20 * AWAY)
    sites.away["law"] = gone
    averaged = sites.lead(tmp_path / "sum.json")
    torch.testing.assert_close(averaged.adapter["b"], torch.full((4,), 0.25), rtol=0, atol=1e-6)
    (law,) = (part for part in averaged.contributions if part.member == "law")
    assert re.search(r"its site was away for \d{4} s", law.excluded)


@pytest.mark.parametrize("stage", ["keys", "shares", "masked", "survivors", "opening"])
def test_below_the_threshold_a_round_comes_to_nothing(sites: Sites, tmp_path: Path, stage: str) -> None:
    sites.leaves |= dict.fromkeys(("law", "physics"), stage)
    with pytest.raises(Unavailable, match="the sum under masks needs 2"):
        sites.lead(tmp_path / "sum.json")


def test_a_round_that_failed_at_its_opening_begins_anew_with_fresh_keys_and_the_same_members(
    sites: Sites, tmp_path: Path
) -> None:
    """Medicine was not in the first sum: who signed that one takes no part in one with medicine, and the hub asks for none."""
    sites.leaves = {"medicine": "masked", "law": "opening"}
    with pytest.raises(Unavailable, match="needs 2"):
        sites.lead(tmp_path / "sum.json")
    before = sites.keys_given()
    sites.leaves.clear()
    averaged = sites.lead(tmp_path / "sum.json")
    torch.testing.assert_close(averaged.adapter["b"], torch.full((4,), 0.15), rtol=0, atol=1e-6)
    assert [part.member for part in averaged.contributions] == ["law", "physics"]
    assert len(before) == 3
    assert len(sites.keys_given() - before) == 2


def test_the_difference_of_two_sums_of_a_round_is_not_told(sites: Sites, tmp_path: Path) -> None:
    """A hub that forgets what it began, on purpose, gets no second sum of the round with another member in it."""
    sites.leaves = {"medicine": "masked"}
    sites.lead(tmp_path / "sum.json")
    sites.leaves.clear()
    with pytest.raises(Unavailable, match=r"has signed a sum of round 1, of law, physics: another one would tell"):
        sites.lead(tmp_path / "other.json")
    assert sites.lead(tmp_path / "other.json", number=2).tokens == 21


def test_a_member_that_the_ledger_does_not_know_gets_no_part(
    sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contributors.site.masking.check_seats", lambda *given: check_seats(*given, patience=0))
    for name in ("law", "medicine"):
        sites.know(name, ("law", "medicine"))
    with pytest.raises(Unavailable, match="has no consent of physics with the key that the hub names"):
        sites.lead(tmp_path / "sum.json")


def test_fewer_than_the_campaign_promised_make_no_sum(sites: Sites, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="2 members could be in the sum"):
        sites.lead(tmp_path / "sum.json", who=("law", "medicine"))


def test_a_message_that_comes_again_gets_the_same_answer_and_another_for_the_same_step_none(
    sites: Sites, tmp_path: Path
) -> None:
    sites.lead(tmp_path / "sum.json")
    law = sites.masking["law"]
    asked = [message for name, message in sites.asked if name == "law"]
    (answered,) = (given for name, stage, given in sites.seen if (name, stage) == ("law", "opening"))
    assert law.answer(asked[-1].content, lambda pack: pytest.fail("was trained again")) is answered
    for message in asked[1:-1]:
        given = law.answer(message.content, lambda pack: pytest.fail("was trained again"))
        said = Given.read(parse(document_of(given)))
        assert isinstance(said.give, Refuse)
        assert "over, or not there yet" in said.give.why


def test_a_poisoned_word_moves_the_mean_no_further_than_the_norm(sites: Sites, tmp_path: Path) -> None:
    """What nobody can look at can be anything: the mean is brought back to the campaign's norm."""
    true = sites._train

    def loud(name: str, content: RecordDict) -> Callable[[Pack], RecordDict]:
        def poisoned(pack: Pack) -> Pack:
            def packed(task: RoundTask, trained: Trained) -> bytes:
                words = np.frombuffer(pack(task, trained), "<u4").copy()
                words += np.uint32(2**30)
                return words.tobytes()

            return packed

        return lambda pack: true(name, content)(poisoned(pack) if name == "law" else pack)

    sites._train = loud  # type: ignore[method-assign]
    averaged = sites.lead(tmp_path / "sum.json")
    moved = torch.cat([(averaged.adapter[name] - start).flatten() for name, start in REFERENCE.items()])
    assert float(moved.norm()) == pytest.approx(1.0, rel=1e-4)
