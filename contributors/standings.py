"""The leaderboard, computed from the ledger's statements alone, and every score from its per-item log."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contributors.ledger import Recorded
from contributors.lineage import Finding
from contributors.sources import Source
from learning.scoring import score
from protos.coalition.v1 import evaluation_pb2
from protos.documents.evaluations import Evaluation, Sample, TaskScore
from protos.documents.models import Model
from protos.documents.submissions import Suite
from trust.canonical import parse
from trust.digests import Digest
from trust.errors import Corrupt, Invalid, NotFound

TOLERANCE = 1e-9
MAX_LINE = 1 << 20


@dataclass(frozen=True)
class Cell:
    """A score, and the entry that records it."""

    index: int
    score: TaskScore


@dataclass
class Board:
    """Models in their order, and by column key the scores of those that have one."""

    models: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)


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
    board = Board([each.leaf.id for each in first if isinstance(each.claim, Model)])
    for each in first:
        if isinstance(each.claim, Evaluation) and each.claim.suite in labels:
            for found in each.claim.scores:
                board.cells[each.claim.model, f"{labels[each.claim.suite]}/{found.task}"] = Cell(each.index, found)
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
    if [row.model for row in served.rows] != board.models:
        findings.append((end, "the leaderboard lists other models than the ledger."))
    return sorted(findings)


def check_scores(recorded: Iterable[Recorded], source: Source) -> tuple[list[Finding], int, int]:
    """(what does not follow from its per-item log, scores recomputed, evaluations whose log we may not read)."""
    findings: list[Finding] = []
    checked = unread = 0
    for each in recorded:
        if not isinstance(each.claim, Evaluation) or each.claim.samples is None:
            continue
        try:
            samples = read_samples(source.read_blob(Digest(each.claim.samples)))
        except NotFound:
            unread += 1
            continue
        except (Corrupt, Invalid) as problem:
            findings.append((each.index, f"its per-item log cannot be read: {problem.what}"))
            continue
        for stated in each.claim.scores:
            checked += 1
            if why := _objection(stated, samples.get(stated.task, [])):
                findings.append((each.index, f"the score of {stated.task} {why}"))
    return findings, checked, unread


def read_samples(data: bytes) -> dict[str, list[Sample]]:
    """A per-item log by task. Raises `Invalid`."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for line in data.splitlines():
        sample = Sample.read(parse(line, max_bytes=MAX_LINE))
        found[sample.task].append(sample)
    return found


def _objection(stated: TaskScore, samples: Sequence[Sample]) -> str:
    try:
        ours = score(stated.metric, samples)
    except Invalid as problem:
        return f"does not follow from its per-item log: {problem.what}"
    pairs = [(ours.value, stated.value), (ours.standard_error, stated.standard_error)]
    if ours.items == stated.items and all(math.isclose(a, b, abs_tol=TOLERANCE) for a, b in pairs):
        return ""
    return f"is stated as {stated.value}, and its per-item log gives {ours.value}."


def _same(told: evaluation_pb2.Score, ours: TaskScore) -> bool:
    stated = (told.metric, told.value, told.standard_error, told.items)
    return stated == (ours.metric, ours.value, ours.standard_error, ours.items)
