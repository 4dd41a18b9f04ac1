"""The leaderboard, computed from the ledger's statements alone, and every score from its per-item log."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contributors.ledger import Recorded
from contributors.lineage import Finding
from contributors.recheck import recomputed
from contributors.sources import Source
from learning.ranking import Answers
from learning.scoring import LOWER_IS_BETTER
from protos.coalition.v1 import evaluation_pb2
from protos.documents import interests
from protos.documents.evaluations import Evaluation, TaskScore, read_log
from protos.documents.models import Model
from protos.documents.submissions import Suite, Withdrawal
from trust.digests import Digest
from trust.errors import Corrupt, Invalid, NotFound


@dataclass(frozen=True)
class Cell:
    """A score, the entry that records it, and its suite with the author."""

    index: int
    score: TaskScore
    suite: str
    author: str


@dataclass
class Board:
    """Models in their order, and by column key the scores of those that have one."""

    models: list[Recorded] = field(default_factory=list)
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)
    """By model and member: see `protos.documents.interests`."""
    open: dict[str, bool] = field(default_factory=dict)
    """By suite: whether it counts in the ranking, as one that was not withdrawn and whose per-item logs are for everybody."""


def board_of(recorded: Sequence[Recorded], size: int) -> Board:
    """The leaderboard of a ledger's first `size` entries: the newest suite that stands of every name and member, every model."""
    first = [each for each in recorded if each.index < size]
    suites = [each for each in first if each.stands(size)]
    newest = {(each.claim.signer, each.claim.name): each for each in suites if isinstance(each.claim, Suite)}
    members: dict[str, set[str]] = defaultdict(set)
    for member, name in newest:
        members[name].add(member)
    labels = {
        each.leaf.id: name if len(members[name]) == 1 else f"{member}:{name}" for (member, name), each in newest.items()
    }
    authors = {each.leaf.id: each.claim.signer for each in newest.values()}
    board = Board([each for each in first if isinstance(each.claim, Model)])
    withdrawn = {each.claim.submission for each in first if isinstance(each.claim, Withdrawal)}
    board.open = {
        each.leaf.id: each.claim.visibility == "members" and each.leaf.id not in withdrawn
        for each in newest.values()
        if isinstance(each.claim, Suite)
    }
    board.shares = interests.shares(_made(each.claim) for each in board.models if isinstance(each.claim, Model))
    for each in first:
        if isinstance(each.claim, Evaluation) and each.claim.suite in labels:
            for found in each.claim.scores:
                board.cells[each.claim.model, f"{labels[each.claim.suite]}/{found.task}"] = Cell(
                    each.index, found, each.claim.suite, authors[each.claim.suite]
                )
    return board


def compare(board: Board, served: evaluation_pb2.Leaderboard) -> list[Finding]:
    """Where the hub's leaderboard is another than the ledger's, by the entry that says otherwise."""
    shown = {(row.model, key): value for row in served.rows for key, value in row.scores.items()}
    findings: list[Finding] = []
    for place, cell in board.cells.items():
        told = shown.pop(place, None)
        if told is None:
            findings.append((cell.index, f"the leaderboard leaves out the score of {place[0]} in {place[1]}."))
        elif not _same(told, cell.score):
            what = f"the leaderboard shows {told.value} for {place[0]} in {place[1]}, the ledger {cell.score.value}."
            findings.append((cell.index, what))
    end = int(served.ledger_size)
    findings += [(end, f"the leaderboard shows {model} in {key}, which no entry records.") for model, key in shown]
    if [row.model for row in served.rows] != [each.leaf.id for each in board.models]:
        findings.append((end, "the leaderboard lists other models than the ledger."))
    else:
        findings += [
            (each.index, f"the leaderboard shows another origin or parent of {row.model} than the ledger.")
            for each, row in zip(board.models, served.rows, strict=True)
            if isinstance(each.claim, Model)
            and (row.origin, row.parent) != (each.claim.origin, each.claim.parent or "")
        ]
    return sorted(findings + _interests(board, served))


def _interests(board: Board, served: evaluation_pb2.Leaderboard) -> list[Finding]:
    """Where a score is shown with another part of the suite's author in the model than the ledger has, or ranked against it."""
    rows = {row.model: row for row in served.rows}
    findings: list[Finding] = []
    for (model, key), cell in board.cells.items():
        if (row := rows.get(model)) is None:
            continue
        share = board.shares[model]
        stated = (row.author_shares.get(key, 0.0), key in row.unranked)
        ours = (share.get(cell.author, 0.0), not interests.ranked(share, cell.author))
        if stated[1] != ours[1] or not math.isclose(stated[0], ours[0], abs_tol=1e-9):
            what = f"the leaderboard shows {model} in {key} with another interest of {cell.author} than the ledger."
            findings.append((cell.index, what))
    return findings


def _made(claim: Model) -> interests.Made:
    return interests.Made(claim.model, claim.parent or "", claim.data, claim.contributions)


@dataclass
class Checked:
    """What does not follow from its per-item log, how many scores do, and how many evaluations have a log that is not for us."""

    findings: list[Finding] = field(default_factory=list)
    scores: int = 0
    sealed: int = 0
    answers: dict[tuple[str, str], dict[str, Answers]] = field(default_factory=dict)
    """By model and suite: what the items of each task are worth, of the logs that are for everybody."""


def check_scores(recorded: Iterable[Recorded], source: Source, reader: str) -> Checked:
    """Every score from its per-item log. Those logs are for everybody, but for a suite's that not every member may read: they
    are its owner's alone.

    `reader` is the member who reads; empty for nobody.
    """
    checked = Checked()
    suites: dict[str, Suite] = {}
    for each in recorded:
        if isinstance(each.claim, Suite):
            suites[each.leaf.id] = each.claim
        elif isinstance(each.claim, Evaluation):
            _check(each.index, each.claim, suites.get(each.claim.suite), source, reader, checked)
    return checked


def _check(index: int, claim: Evaluation, suite: Suite | None, source: Source, reader: str, checked: Checked) -> None:
    if not claim.scores:
        if not claim.failure:
            checked.findings.append((index, "it states neither scores nor a failure."))
        return
    if claim.samples is None:
        checked.findings.append((index, "it states scores, and names no per-item log that they follow from."))
        return
    try:
        samples = read_log(source.read_blob(Digest(claim.samples)))
    except NotFound:
        if suite is not None and suite.visibility != "members" and not (source.live and suite.signer == reader):
            checked.sealed += 1
        else:
            why = "its per-item log, which you may read, is withheld: its scores are not proven."
            checked.findings.append((index, why))
        return
    except (Corrupt, Invalid) as problem:
        checked.findings.append((index, f"its per-item log cannot be read: {problem.what}"))
        return
    wrong = [(index, what) for what in recomputed(claim, samples)]
    checked.findings += wrong
    checked.scores += len(claim.scores)
    if not wrong and suite is not None and suite.visibility == "members":
        metrics = {score.task: score.metric for score in claim.scores}
        checked.answers[claim.model, claim.suite] = Answers.by_task(metrics, samples)


def _same(told: evaluation_pb2.Score, ours: TaskScore) -> bool:
    stated = (told.metric, told.value, told.standard_error, told.items, told.higher_is_better)
    baseline = math.nan if ours.baseline is None else ours.baseline
    same = told.baseline == baseline or (math.isnan(told.baseline) and math.isnan(baseline))
    lower = ours.metric in LOWER_IS_BETTER
    return same and stated == (ours.metric, ours.value, ours.standard_error, ours.items, not lower)
