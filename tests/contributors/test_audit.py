"""The ledger replayed: what follows from it is computed anew, and whatever disagrees is named by its first entry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contributors.audit import Audited, audit
from contributors.client import Coalition
from contributors.home import Home
from contributors.mirror import mirror
from contributors.rewriting import explained, find_fork
from contributors.sources import MirrorSource, StoreSource
from contributors.witness.attachment import attached
from contributors.witness.standing import standing
from hub import setup
from hub.evaluation.leaderboard import leaderboard
from hub.ledger.log import Log
from hub.settings import Settings
from learning.scoring import score
from protos.coalition.v1 import common_pb2, evaluation_pb2
from protos.documents.base import Claim
from protos.documents.evaluations import Evaluation, Sample, TaskScore
from protos.documents.runs import Stop
from protos.documents.statements import HUB
from protos.transport.channel import Credentials
from protos.transport.enrolment import Enrolled
from tests.contributors.served import Hub, flip
from tests.contributors.witness.hearing import Heard, until
from tests.contributors.witness.test_attachment import submit
from tests.dashboards.history import History
from trust.digests import Digest, hex_of
from trust.errors import Corrupt
from trust.forks import verify_fork
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
        self.history.run({"author": self.history.dataset("author", "law")})
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

    def evaluate(self, **changes: Any) -> None:
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
        self.history.record(Evaluation.model_validate({**values, **changes}))

    def served(self) -> evaluation_pb2.Leaderboard:
        with self.history.base.database.session() as session:
            return leaderboard(session)

    def audit(self, served: evaluation_pb2.Leaderboard | None = None) -> Audited:
        return audit(self.home, StoreSource(self.settings.directory), served)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path)
    yield told
    told.history.close()


def test_an_honest_ledger_holds_and_gives_the_leaderboard_that_the_hub_shows(told: Told) -> None:
    told.evaluate()
    audited = told.audit(told.served())
    assert audited.holds, (audited.findings, audited.verdict.problems)
    assert (audited.final, audited.scores_checked, audited.logs_unread) == (told.size, 1, 0)
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


def test_a_score_that_does_not_follow_from_its_log_is_named(told: Told) -> None:
    stated = TaskScore(task="text", metric="bits_per_byte", value=0.5, standard_error=0.1, items=20)
    told.evaluate(scores=(stated,))
    audited = told.audit(told.served())
    assert audited.first == told.size - 1
    assert "is stated as 0.5" in audited.findings[0][1]


def test_statements_that_do_not_fit_together_are_named(told: Told) -> None:
    told.evaluate(model_payload="sha256:" + "0" * 64)
    told.evaluate(model="tiny-9", seconds=2.0)
    first, second = told.audit().findings
    assert (first[0], second[0]) == (told.size - 2, told.size - 1)
    assert "another content" in first[1]
    assert "not recorded before it" in second[1]


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
        audit(told.home, source, None)
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
        audited = audit(other, MirrorSource(target), None)
        assert audited.holds, audited.findings
        assert (audited.final, audited.verdict.absent_blobs) == (5, 2)
        assert audited.verdict.leaves[4:] == tuple(hub.base.log.reader().entries(4, 5))
        bundle = max(
            (target / "ledger" / "tile" / "entries").rglob("*"), key=lambda path: path.name.isdigit() and int(path.name)
        )
        flip(bundle, 40)
        with pytest.raises(Corrupt):
            audit(other, MirrorSource(target), None)
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
    audited = audit(home, MirrorSource(tmp_path / "mirror"), None)
    assert not audited.holds
    assert "was changed" in audited.verdict.problems[0]
