"""The ledger replayed: what follows from it is computed anew, and whatever disagrees is named by its first entry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contributors.audit import Audited, Served, audit
from contributors.client import Coalition
from contributors.home import Home
from contributors.mirror import mirror
from contributors.receipts import keep_receipt
from contributors.rewriting import explained, find_fork
from contributors.seen import remember
from contributors.sources import HubSource, MirrorSource, StoreSource
from contributors.trusted import Trusted
from contributors.witness.attachment import attached
from contributors.witness.standing import standing
from hub import setup
from hub.evaluation.leaderboard import EVERYTHING, leaderboard
from hub.evaluation.ranking import Rankings
from hub.ledger.log import Log
from hub.settings import Settings
from learning.scoring import score
from protos.coalition.v1 import common_pb2, evaluation_pb2
from protos.documents.base import Claim
from protos.documents.evaluations import Evaluation, Sample, TaskScore
from protos.documents.models import Contribution, DataUsed
from protos.documents.runs import Stop
from protos.documents.statements import HUB
from protos.documents.submissions import Reward, Suite, Withdrawal
from protos.transport.channel import Credentials
from protos.transport.enrolment import Enrolled
from tests.contributors.served import Hub, flip
from tests.contributors.witness.hearing import Heard, until
from tests.contributors.witness.test_attachment import submit
from tests.dashboards.history import TOKENS, History
from trust.digests import Digest, digest_bytes, hex_of
from trust.errors import Conflict, Corrupt
from trust.forks import Fork, verify_fork
from trust.merkle import leaf_hash
from trust.notes import claimed_head

SAMPLES = [Sample(task="text", item=n, log_likelihoods=(-3.5 * n - 1,), lengths=(4 + n,)) for n in range(20)]


class Told:
    """A ledger with a model, its suite and a score with its per-item log; and the home of one who audits it."""

    def __init__(self, directory: Path) -> None:
        self.settings: Settings = setup.create(
            directory / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090
        )
        self.history = History(self.settings)
        self.history.enrol("core-team", "core")
        self.history.enrol("author", "contributor")
        self.dataset = self.history.dataset("author", "law")
        self.run = self.history.run({"author": self.dataset})
        self.suite = self.history.suite("author", "law")
        self.home = Home(directory / "home")
        self.home.artifact_key()
        base = self.history.base
        enrolled = Enrolled(
            id="author",
            organisation="Author",
            role="contributor",
            hub="europe",
            ledger_key=base.log.vkey,
            receipt=common_pb2.Receipt(),
            statement_key=base.statement_key.public.pem(),
            credentials=Credentials(b"ca", b"certificate", b"key"),
        )
        self.home.save_enrolment(enrolled, "127.0.0.1:9")

    @property
    def size(self) -> int:
        return self.history.base.log.size

    def evaluate(self, **changes: Any) -> str:
        ours = score("bits_per_byte", SAMPLES)
        stated = TaskScore(
            task="text", metric="bits_per_byte", value=ours.value, standard_error=ours.standard_error, items=20
        )
        log = b"".join(sample.model_dump_json().encode() + b"\n" for sample in SAMPLES)
        values = {
            "hub": "europe",
            "signer": HUB,
            "model": "tiny-1",
            "model_payload": self.history.payloads["tiny-1"],
            "suite": self.suite,
            "suite_payload": self.history.payloads[self.suite],
            "harness": "test",
            "scores": (stated,),
            "samples": self.history.base.blobs.put(log),
            "seconds": 1.0,
        }
        return self.history.record(Evaluation.model_validate({**values, **changes}))

    def served(self) -> evaluation_pb2.Leaderboard:
        with self.history.base.database.session() as session:
            return leaderboard(session)

    def ranking(self, size: int = EVERYTHING) -> evaluation_pb2.Ranking:
        with self.history.base.database.session() as session:
            return Rankings(self.history.base.blobs).of(session, size)

    def audit(
        self, board: evaluation_pb2.Leaderboard | None = None, ranking: evaluation_pb2.Ranking | None = None
    ) -> Audited:
        served = None
        if board is not None:
            served = Served(self.history.base.log.note(), b"", board, ranking or self.ranking())
        return audit(self.home, StoreSource(self.settings.directory), Trusted.of(self.home), served)

    def sealed_suite(self, visibility: str) -> str:
        """Another suite by the author; its name."""
        first = Suite.model_validate(
            {
                "hub": "europe",
                "signer": "author",
                "name": f"{visibility}-suite",
                "version": "1",
                "domain": "law",
                "licence": "CC-BY-4.0",
                "visibility": visibility,
                "files": [self.history.file(name, name.encode()) for name in ("suite.json", "text.jsonl")],
            }
        )
        return self.history.record(first)

    def unchecked(self) -> None:
        """From now on the hub records whatever it likes."""
        self.history.base.journal._checks.clear()

    def lose(self, digest: str) -> None:
        """The hub keeps a blob to itself."""
        StoreSource(self.settings.directory).place(Digest(digest)).unlink()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path)
    yield told
    told.history.close()


def test_an_honest_ledger_holds_and_gives_the_leaderboard_that_the_hub_shows(told: Told) -> None:
    told.evaluate()
    audited = told.audit(told.served())
    assert audited.holds, (audited.findings, audited.verdict.problems)
    assert (audited.final, audited.scores_checked, audited.logs_sealed) == (told.size, 1, 0)
    ((place, cell),) = audited.board.cells.items()
    assert place == ("tiny-1", "law-suite/text")
    assert cell.index == told.size - 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda board: setattr(board.rows[0].scores["law-suite/text"], "value", 0.1), "shows 0.1"),
        (lambda board: board.rows[0].scores.pop("law-suite/text"), "leaves out"),
        (lambda board: board.rows.pop(), "leaves out"),
        (
            lambda board: board.rows[0].scores["law-suite/terms"].CopyFrom(evaluation_pb2.Score(value=1)),
            "no entry records",
        ),
        (lambda board: board.rows.add(model="invented-1"), "other models"),
        (lambda board: setattr(board, "ledger_size", 1000), "not final"),
        (lambda board: setattr(board.rows[0], "parent", "tiny-0"), "another origin or parent"),
        (lambda board: board.rows[0].ClearField("unranked"), "another interest of author"),
        (lambda board: board.rows[0].author_shares.clear(), "another interest of author"),
        (
            lambda board: setattr(board.rows[0].scores["law-suite/text"], "higher_is_better", True),
            "the leaderboard shows",
        ),
    ],
)
def test_a_leaderboard_that_is_not_the_ledgers(
    told: Told, change: Callable[[evaluation_pb2.Leaderboard], object], words: str
) -> None:
    told.evaluate()
    board = told.served()
    change(board)
    audited = told.audit(board)
    assert not audited.holds
    assert any(words in what for _, what in audited.findings)


def test_a_leaderboard_of_an_earlier_ledger_is_stale(told: Told) -> None:
    """It is right for the entries that it counts; more were final before it was shown."""
    with told.history.base.database.session() as session:
        board = leaderboard(session, told.size - 1)
    audited = told.audit(board)
    assert audited.findings == [
        (
            told.size - 1,
            f"the leaderboard counts {told.size - 1} entries alone, and {told.size} were final before it was shown.",
        )
    ]
    assert told.audit(told.served()).holds


def test_a_ranking_of_an_earlier_ledger_is_stale(told: Told) -> None:
    ((index, what),) = told.audit(told.served(), told.ranking(told.size - 1)).findings
    assert (index, "the ranking counts" in what) == (told.size - 1, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ranking: setattr(ranking.models[0], "value", 0.9), "ranks tiny-1 at 1 to 1 with 0.9"),
        (lambda ranking: setattr(ranking.models[0], "last", 2), "ranks tiny-1 at 1 to 2"),
        (lambda ranking: setattr(ranking.models[0], "low", 0.0), "ranks tiny-1"),
        (lambda ranking: ranking.models.pop(), "ranks other models"),
        (lambda ranking: ranking.tasks.append("law-suite/easy"), "ranks by examiner:law-suite/text, law-suite/easy"),
        (lambda ranking: setattr(ranking, "ledger_size", 1000), "the ranking counts entries that are not final"),
    ],
)
def test_a_ranking_that_is_not_the_logs(
    told: Told, change: Callable[[evaluation_pb2.Ranking], object], words: str
) -> None:
    told.history.enrol("examiner", "contributor")
    told.suite = told.history.suite("examiner", "law")
    told.evaluate()
    ranking = told.ranking()
    assert [(each.model, each.first) for each in ranking.models] == [("tiny-1", 1)]
    assert told.audit(told.served(), ranking).holds
    change(ranking)
    assert any(words in what for _, what in told.audit(told.served(), ranking).findings)


def test_a_score_without_a_log_is_named(told: Told) -> None:
    told.evaluate(samples=None)
    ((index, what),) = told.audit(told.served()).findings
    assert index == told.size - 1
    assert "names no per-item log" in what


def test_an_evaluation_that_says_nothing_is_named(told: Told) -> None:
    told.evaluate(samples=None, scores=())
    ((_, what),) = told.audit().findings
    assert "neither scores nor a failure" in what


def test_a_second_evaluation_is_named(told: Told) -> None:
    """The hub refuses it, and may have tried until it liked what it saw."""
    told.evaluate()
    told.unchecked()
    told.evaluate(seconds=2.0)
    ((index, what),) = told.audit().findings
    assert (index, "was evaluated by" in what) == (told.size - 1, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"harness": "another"}, "has another harness, scores, log or node"),
        ({"node": "node-1"}, "has another harness, scores, log or node"),
        ({"scores": (), "failure": "It took too long."}, "has another harness, scores, log or node"),
        ({"same_as": "tiny-1"}, "names the evaluation tiny-1, which is not recorded before it"),
        ({"file": b"other weights"}, "which is of other files"),
        ({"domain": "medicine"}, "which is of other files"),
    ],
    ids=["honest", "harness", "node", "failure", "model", "model files", "suite files"],
)
def test_what_is_said_to_repeat_an_evaluation_is_what_that_came_to(
    told: Told, changes: dict[str, Any], words: str
) -> None:
    """The same files under other names were not computed again."""
    changes, first = dict(changes), told.evaluate()
    files = (
        told.history.file("config.json", b"{}"),
        told.history.file("model.safetensors", changes.pop("file", b"tiny-1")),
    )
    run = told.history.launch("next")
    told.history.model("next-1", None, run, 0, data=(used(told, told.dataset),), files=files)
    suite = told.history.suite("author", changes.pop("domain")) if "domain" in changes else told.suite
    told.unchecked()
    payloads = {"model_payload": told.history.payloads["next-1"], "suite_payload": told.history.payloads[suite]}
    told.evaluate(**{"model": "next-1", "suite": suite, **payloads, "same_as": first, **changes})
    assert [words in what for what in objections(told)] == [True] * bool(words)


@pytest.mark.parametrize(
    ("visibility", "holds"), [("members", False), ("hub", True), ("sealed", True)], ids=["members", "hub", "sealed"]
)
def test_a_log_that_is_withheld_proves_nothing_but_for_a_suite_that_not_every_member_may_read(
    told: Told, visibility: str, holds: bool
) -> None:
    told.suite = told.sealed_suite(visibility)
    told.evaluate()
    digest = told.history.base.blobs.put(b"".join(sample.model_dump_json().encode() + b"\n" for sample in SAMPLES))
    told.lose(digest)
    audited = told.audit()
    withheld = [index for index, what in audited.findings if "is withheld" in what]
    assert withheld == ([] if holds else [told.size - 1])
    assert audited.logs_sealed == int(holds)


def test_a_score_that_does_not_follow_from_its_log_is_named(told: Told) -> None:
    stated = TaskScore(task="text", metric="bits_per_byte", value=0.5, standard_error=0.1, items=20)
    told.evaluate(scores=(stated,))
    audited = told.audit(told.served())
    assert audited.first == told.size - 1
    assert "The signed bits_per_byte of text is 0.5" in audited.findings[0][1]


def test_statements_that_do_not_fit_together_are_named(told: Told) -> None:
    told.evaluate(model_payload="sha256:" + "0" * 64)
    told.evaluate(model="tiny-9", seconds=2.0)
    first, second = told.audit().findings
    assert (first[0], second[0]) == (told.size - 2, told.size - 1)
    assert "another content" in first[1]
    assert "not recorded before it" in second[1]


def used(told: Told, dataset: str, tokens: int = TOKENS) -> DataUsed:
    return DataUsed(
        dataset=dataset, payload=told.history.payloads[dataset], member="author", licence="CC-BY-4.0", tokens=tokens
    )


def objections(told: Told) -> list[str]:
    """What an audit says of the newest entry; nothing is said of any other."""
    findings = told.audit().findings
    assert {index for index, _ in findings} <= {told.size - 1}
    return [what for _, what in findings]


def withdraw(told: Told, dataset: str) -> None:
    told.history.record(Withdrawal(hub="europe", signer="author", submission=dataset))


def test_a_models_data_is_what_stood_when_its_run_was_launched(told: Told) -> None:
    """What was withdrawn before is not in it, what was withdrawn later is; what came later is not."""
    withdraw(told, told.dataset)
    medicine = told.history.dataset("author", "medicine")
    run = told.history.launch("next")
    told.history.dataset("author", "software")
    withdraw(told, medicine)
    told.history.model("next-1", None, run, 0, data=(used(told, medicine),))
    assert objections(told) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda told: (), "it leaves out data-"),
        (
            lambda told: (used(told, told.dataset), used(told, told.history.dataset("author", "late"), 0)),
            "not train on",
        ),
        (lambda told: (used(told, told.dataset, 100),), "it attributes 100 tokens"),
        (lambda told: (used(told, told.dataset, 0), used(told, told.dataset)), "names a dataset twice"),
    ],
)
def test_a_models_data_that_does_not_follow_from_its_run_is_named(
    told: Told, data: Callable[[Told], tuple[DataUsed, ...]], words: str
) -> None:
    run = told.history.launch("next")
    told.history.model("next-1", None, run, 0, data=data(told))
    assert any(words in what for what in objections(told))


def test_a_run_that_names_withdrawn_data_is_named(told: Told) -> None:
    withdraw(told, told.dataset)
    told.unchecked()
    told.history.launch("next", datasets=(told.dataset,))
    assert objections(told) == [f"it names {told.dataset}, which was withdrawn before."]


def test_a_campaign_that_names_no_policy_that_stands_is_named(told: Told) -> None:
    rules = ({"name": "short", "check": {"how": "length", "most": 9}},)
    written = {"format": "coalition-reward/v1", "name": "short", "description": "Be short.", "rules": rules}
    policy = told.history.record(Reward.read({"hub": "europe", "signer": "author", "policy": written}))
    told.history.learn_by(told.history.payloads[policy])
    assert objections(told) == []
    withdraw(told, policy)
    told.unchecked()
    told.history.learn_by(told.history.payloads[policy])
    assert objections(told) == [f"it names {policy}, which was withdrawn before."]


def test_a_campaign_that_names_a_policy_of_nowhere_is_named(told: Told) -> None:
    told.unchecked()
    told.history.learn_by(digest_bytes(b"nowhere"))
    (what,) = objections(told)
    assert "names the reward reward-" in what


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parent": "tiny-1"}, "has no parent"),
        ({"number": 3}, "no round"),
        ({"tokens": 1}, "states 1 tokens"),
        ({"source": "ended"}, "had ended before"),
        ({"source": "made"}, "has made more-1 already"),
    ],
)
def test_a_run_makes_one_model_that_begins_a_line(told: Told, changes: dict[str, Any], words: str) -> None:
    run, data = told.history.launch("more"), (used(told, told.dataset),)
    told.history.model("more-1", None, run, 0, data=data)
    sources = {"ended": told.run, "made": run, "": told.history.launch("next")}
    values = {"parent": None, "number": 0, "data": data, **changes, "source": sources[changes.get("source", "")]}
    told.unchecked()
    told.history.model("next-1", origin="run", **values)
    assert any(words in what for what in objections(told))


def part(weight: float, member: str = "author", **changes: Any) -> Contribution:
    values = {"examples": 20, "loss_first": 3.0, "loss_last": 2.9, "update_norm": 1.0, **changes}
    return Contribution(member=member, weight=weight, **values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parent": "tiny-2"}, "its parent is tiny-2, and campaign-"),
        ({"number": 2}, "of round 2; 0 of 3"),
        ({"contributions": (part(1.0, "core-team"),)}, "without having consented"),
        ({"contributions": (part(0.3), part(0.7))}, "contributed twice"),
        ({"contributions": (part(0.5),)}, "not weighted as"),
        ({"contributions": ()}, "not weighted as"),
        ({"learned_of": "core-team"}, "of core-team, whose update is not in it"),
    ],
)
def test_a_rounds_model_follows_from_its_campaign(told: Told, changes: dict[str, Any], words: str) -> None:
    told.history.model("tiny-2", None, told.history.launch("tiny"), 0, data=(used(told, told.dataset),))
    campaign = told.history.open_campaign(["author"])
    values = {"parent": "tiny-1", "number": 1, "contributions": (part(1.0),), **changes}
    if member := values.pop("learned_of", ""):
        values["data"] = (used(told, told.history.dataset(member, "science")).model_copy(update={"member": member}),)
    told.unchecked()
    told.history.model("tiny-1.1", source=campaign, **values)
    assert any(words in what for what in objections(told))


def test_a_member_without_experts_of_its_own_gave_no_update_of_any(told: Told) -> None:
    own = {"trainable": "experts", "experts": {"own": {"core-team": [0]}}, "adapter": {}}
    told.unchecked()
    campaign = told.history.open_campaign(["author"], **own)
    told.history.model("tiny-1.1", source=campaign, parent="tiny-1", number=1, contributions=(part(1.0),))
    assert any(f"author contributed, and {campaign} names no expert of its own" in what for what in objections(told))


def test_an_honest_campaign_holds(told: Told) -> None:
    told.history.campaign(["author"])
    assert objections(told) == []


def test_a_round_names_the_datasets_that_its_sites_learned_from(told: Told) -> None:
    campaign = told.history.open_campaign(["author"])
    learned = (used(told, told.dataset),)
    told.history.model("tiny-1.1", source=campaign, parent="tiny-1", number=1, contributions=(part(1.0),), data=learned)
    assert objections(told) == []


def test_a_log_that_is_no_log_is_named(told: Told) -> None:
    told.evaluate(samples=told.history.base.blobs.put(b"{}\n"))
    assert "cannot be read" in told.audit().findings[0][1]


def test_what_was_said_in_our_name_by_somebody_else_is_told(told: Told) -> None:
    audited = told.audit()
    assert audited.holds
    theirs = [index for index, _ in audited.warnings]
    assert theirs == [2, 6]  # the dataset and the suite: the history signed them, not this home
    claim: Claim = Stop(hub="europe", signer="author", target="run-1", why="for a test")
    for path in (told.home.directory / "statements").glob("*"):
        path.unlink()
    assert told.home.made() == frozenset()
    told.home.statement(claim)
    told.home.forget_statement(claim)
    assert len(told.home.made()) == 1


def test_a_changed_entry_is_named_with_a_proof_of_the_fork(told: Told) -> None:
    told.evaluate()
    honest = told.audit()
    told.home.remember_head(honest.verdict.note)
    told.home.remember_leaves(honest.verdict.leaves)
    entries = list(honest.verdict.leaves)
    changed = json.loads(entries[3])
    changed["time"] = "2020-01-01T00:00:00.000Z"
    entries[3] = json.dumps(changed, separators=(",", ":"), sort_keys=True).encode()
    forged = told.settings.directory.parent / "forged"
    shutil.copytree(told.settings.directory / "blobs", forged / "blobs")
    Log(forged / "ledger", told.history.base.log._key).append([*entries, entries[0]])
    source = StoreSource(forged)
    with pytest.raises(Corrupt) as caught:
        audit(told.home, source, Trusted.of(told.home))
    problem = explained(told.home, source, caught.value)
    assert "Entry 3 is not what it was" in problem.what
    (proof,) = (told.home.directory / "proofs").iterdir()
    assert str(proof) in problem.todo
    fork = find_fork([honest.verdict.note], told.home.ledger_key(), source)
    assert fork is not None
    verify_fork(fork, told.home.ledger_key())
    assert find_fork([honest.verdict.note], told.home.ledger_key(), StoreSource(told.settings.directory)) is None


def test_a_mirror_is_verified_resumed_and_audited_with_no_hub(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    target, other = tmp_path / "mirror", hub.home("University")
    submit(client, tmp_path)
    with attached(home, heard := Heard()):
        heard.wait("cosigned", 4)
        until(lambda: standing(client).final == 4)
        with Coalition(other) as theirs:
            first = mirror(theirs, target)
            assert (first.head.size, first.private) == (4, 1)
            submit(client, tmp_path)
            until(lambda: standing(client).final == 5)
            again = mirror(theirs, target)
    assert (again.head.size, again.fetched, again.private) == (5, 1, 2)
    hub.stop()
    try:
        audited = audit(other, MirrorSource(target), Trusted.of(other))
        assert audited.holds, audited.findings
        assert (audited.final, audited.verdict.absent_blobs) == (5, 2)
        assert audited.verdict.leaves[4:] == tuple(hub.base.log.reader().entries(4, 5))
        bundle = max(
            (target / "ledger" / "tile" / "entries").rglob("*"), key=lambda path: path.name.isdigit() and int(path.name)
        )
        flip(bundle, 40)
        with pytest.raises(Corrupt):
            audit(other, MirrorSource(target), Trusted.of(other))
    finally:
        hub.start()


def test_a_mirror_takes_no_history_that_does_not_extend_its_own(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    target = tmp_path / "mirror"
    mirror(client, target)
    kept = (target / "ledger" / "checkpoint").read_bytes()
    entries = list(hub.base.log.reader().entries(0, hub.base.log.size))
    shutil.rmtree(hub.base.directory / "ledger")
    Log(hub.base.directory / "ledger", hub.base.log_key).append([b"{}", *entries])
    hub.base.log.reload()
    with pytest.raises(Corrupt):
        mirror(client, target)
    assert (target / "ledger" / "checkpoint").read_bytes() == kept
    assert claimed_head(kept).root == leaf_hash(entries[0])


def test_a_blob_of_the_mirror_that_was_changed_is_found(
    hub: Hub, client: Coalition, home: Home, tmp_path: Path
) -> None:
    submit(client, tmp_path)
    mirror(client, tmp_path / "mirror")
    digest = client.submissions("dataset")[0].files[0].digest
    name = hex_of(Digest(digest))
    flip(tmp_path / "mirror" / "blobs" / "sha256" / name[:2] / name, 1)
    audited = audit(home, MirrorSource(tmp_path / "mirror"), Trusted.of(home))
    assert not audited.holds
    assert "was changed" in audited.verdict.problems[0]


def shorten(hub: Hub, *more: bytes) -> None:
    """The hub's operator drops the newest entry, and signs what is left, with other entries in its place."""
    entries = list(hub.base.log.reader().entries(0, hub.base.log.size))[:-1]
    shutil.rmtree(hub.base.directory / "ledger")
    Log(hub.base.directory / "ledger", hub.base.log_key).append([*entries, *more])
    hub.base.log.reload()


def test_an_entry_that_we_keep_a_receipt_of_cannot_be_dropped(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    """Also where we have verified no ledger yet that holds it."""
    identifier = submit(client, tmp_path)
    keep_receipt(home, identifier, client.receipt(identifier))
    source, trusted = HubSource(client), Trusted.of(home)
    assert home.known_head() is None
    assert audit(home, source, trusted).holds
    shorten(hub)
    with pytest.raises(Corrupt, match="lacks entry 1"):
        audit(home, source, trusted, Served.by(client))
    shorten(hub, *hub.base.log.reader().entries(0, 1), b"{}", b"{}")
    with pytest.raises(Corrupt, match="Entry 1 of the ledger is not the one of the receipt") as caught:
        audit(home, source, trusted)
    assert "signed both histories" in explained(home, source, caught.value).todo
    (proof,) = (home.directory / "proofs").iterdir()
    verify_fork(Fork.decode(proof.read_bytes()), home.ledger_key())


def test_a_receipt_that_was_damaged_is_told_and_accuses_nobody(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    identifier = submit(client, tmp_path)
    keep_receipt(home, identifier, client.receipt(identifier))
    flip(home.receipt_path(identifier), 60)
    audited = audit(home, HubSource(client), Trusted.of(home))
    assert audited.holds
    assert "is not compared" in audited.verdict.notes[0]


def test_an_older_mirror_proves_nothing_bad_and_is_not_remembered(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    mirror(client, tmp_path / "mirror")
    identifier = submit(client, tmp_path)
    keep_receipt(home, identifier, client.receipt(identifier))
    newest = audit(home, HubSource(client), Trusted.of(home)).verdict
    remember(home, newest.note, newest.leaves)
    older = audit(home, MirrorSource(tmp_path / "mirror"), Trusted.of(home))
    assert older.holds
    assert "ends with 1 entries, and you saw 2" in older.verdict.notes[0]
    remember(home, older.verdict.note, older.verdict.leaves)
    assert home.known_head() == newest.head
    (checkpoint,) = (tmp_path / "mirror").glob("ledger/checkpoint")
    shutil.rmtree(tmp_path / "mirror" / "ledger")
    Log(checkpoint.parent, hub.base.log_key).append([b"another history"])
    with pytest.raises(Corrupt, match="another history than the one that you verified"):
        audit(home, MirrorSource(tmp_path / "mirror"), Trusted.of(home))


class Lying(Coalition):
    """A hub that serves a tile with one bit changed, so many times."""

    times = 1

    def tile(self, path: str) -> bytes:
        data = super().tile(path)
        if self.times > 0 and path.startswith("tile/0/"):
            self.times -= 1
            return bytes([data[0] ^ 1]) + data[1:]
        return data


@pytest.mark.parametrize("times", [1, 2])
def test_a_bad_tile_never_comes_to_lie_in_a_mirror(hub: Hub, home: Home, tmp_path: Path, times: int) -> None:
    target = tmp_path / "mirror"
    with Lying(home) as lying:
        lying.times = times
        if times == 1:
            mirror(lying, target)  # asked again, it served the right one
        else:
            with pytest.raises(Corrupt):
                mirror(lying, target)
            assert not [path for path in target.rglob("*") if path.is_file()]
            mirror(lying, target)
    assert audit(home, MirrorSource(target), Trusted.of(home)).holds


def test_what_the_disk_changed_in_a_mirror_is_fetched_again(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    target = tmp_path / "mirror"
    mirror(client, target)
    for path in (target / "ledger" / "tile").rglob("*"):
        if path.is_file():
            flip(path, 5)
    mirror(client, target)
    assert audit(home, MirrorSource(target), Trusted.of(home)).holds


def test_a_mirror_takes_no_history_that_its_owner_knows_to_be_another(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    """It extends the mirror's own, and not what the home verified since."""
    target = tmp_path / "mirror"
    mirror(client, target)
    submit(client, tmp_path)
    verified = audit(home, HubSource(client), Trusted.of(home)).verdict
    remember(home, verified.note, verified.leaves)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    shorten(hub, b"{}", b"{}")
    with pytest.raises(Corrupt, match="rewritten"):
        mirror(client, target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("foreign", ["thesis.pdf", "keys/log.key"])
def test_a_mirror_is_a_folder_of_its_own(hub: Hub, client: Coalition, tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "mirror" / foreign
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(Conflict, match="no part of a mirror"):
        mirror(client, tmp_path / "mirror")
    path.unlink()
    mirror(client, tmp_path / "mirror")
    mirror(client, tmp_path / "mirror")
