"""The ranking: from final evaluations whose per-item logs everybody may read, and what is left out with its reason."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.evaluation import store
from hub.evaluation.store import Suite
from hub.evaluation.tables import EvaluationRow
from hub.ledger.rows import count as recorded_size
from hub.models import registry
from learning.ranking import Answered, Answers, Rank, ranking
from protos.coalition.v1 import evaluation_pb2
from protos.documents import interests
from protos.documents.evaluations import MAX_LOG, read_log
from trust.digests import Digest
from trust.errors import Corrupt, NotFound

MAX_ITEMS = 8 << 20
"""Items whose worth is remembered, 16 bytes each."""
MAX_RANKINGS = 16


@dataclass
class _Entrants:
    """Evaluations that count, by model, their suites with their names, and suites that do not count."""

    evaluations: dict[str, list[EvaluationRow]] = field(default_factory=lambda: defaultdict(list))
    suites: dict[str, tuple[Suite, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """`tasks` are suites' identifiers with tasks: names would change with what others submit."""

    ranks: dict[str, Rank]
    tasks: list[tuple[str, str]]
    unreadable: dict[str, str]


class Rankings:
    """Per-item logs never change, so what was read of them is kept; a ranking is, until other evaluations count."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._logs: OrderedDict[str, Mapping[str, Answers]] = OrderedDict()
        self._items = 0  # of these logs
        self._known: OrderedDict[tuple[str, ...], _Found] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def of(self, session: Session, final: int, domain: str = "") -> evaluation_pb2.Ranking:
        """From the ledger's first `final` entries; of one domain's suites, or of all."""
        entrants = _entrants(session, final, domain)
        key = tuple(sorted(row.id for rows in entrants.evaluations.values() for row in rows))
        with self._one_at_a_time:
            found = self._known.get(key) or self._computed(entrants)
            if not found.unreadable:  # which may be repaired
                self._known[key] = found
                self._known.move_to_end(key)
            while len(self._known) > MAX_RANKINGS:
                self._known.popitem(last=False)
        return _message(found, entrants, min(final, recorded_size(session)))

    def _computed(self, entrants: _Entrants) -> _Found:
        answered: dict[str, dict[str, Answered]] = {}
        unreadable: dict[str, str] = {}
        places: dict[str, tuple[str, str]] = {}
        for model, rows in entrants.evaluations.items():
            answered[model] = {}
            for row in rows:
                try:
                    answers = self._answers(row)
                except (Corrupt, NotFound):
                    unreadable[model] = f"The per-item log of {row.id} cannot be read at the hub."
                    continue
                author = entrants.suites[row.suite][0].member
                for score in store.scores(row):
                    name = f"{row.suite}/{score.task}"
                    places[name] = row.suite, score.task
                    answered[model][name] = Answered(
                        author, row.suite, score.metric, score.baseline, answers[score.task]
                    )
        ranks, tasks = ranking(answered)
        return _Found(ranks, [places[name] for name in tasks], unreadable)

    def _answers(self, row: EvaluationRow) -> Mapping[str, Answers]:
        """Raises `NotFound`, `Corrupt`."""
        if row.samples not in self._logs:
            metrics = {score.task: score.metric for score in store.scores(row)}
            log = Answers.by_task(metrics, read_log(self._blobs.read(Digest(row.samples), MAX_LOG)))
            self._logs[row.samples] = log
            self._items += _items(log)
        self._logs.move_to_end(row.samples)
        while len(self._logs) > 1 and self._items > MAX_ITEMS:
            self._items -= _items(self._logs.popitem(last=False)[1])
        return self._logs[row.samples]


def _entrants(session: Session, final: int, domain: str) -> _Entrants:
    """Evaluations that count: final, by a suite that stands, whose logs are for everybody, and whose author made none of the
    models: who supplied half or more of a training takes its own suite out, and no model."""
    found = _Entrants()
    current = store.current_suites(session, final)
    labels = store.labels(list(current.values()))
    standing = [suite for suite in current.values() if suite.withdrawn_index is None or suite.withdrawn_index >= final]
    chosen = {suite.id: suite for suite in standing if domain in ("", suite.domain)}
    rows = [row for row in store.recorded(session) if row.index < final and row.scores and row.suite in chosen]
    shares = interests.shares(registry.made(model) for model in registry.all_models(session))
    for row in rows:
        suite = chosen[row.suite]
        if suite.visibility != "members":
            found.left_out[row.suite] = "Its per-item logs are its owner's alone."
        elif not interests.ranked(shares.get(row.model, {}), suite.member):
            found.left_out[row.suite] = (
                f"{suite.member}, whose suite it is, supplied half or more of a training of {row.model}."
            )
    for row in rows:
        if row.suite not in found.left_out:
            found.evaluations[row.model].append(row)
    found.suites = {suite.id: (suite, labels[suite.id]) for suite in chosen.values()}
    return found


def _items(log: Mapping[str, Answers]) -> int:
    return sum(len(answers.sizes) for answers in log.values())


def _message(found: _Found, entrants: _Entrants, size: int) -> evaluation_pb2.Ranking:
    ordered = sorted(found.ranks.items(), key=lambda item: -item[1].value)
    lacking = {
        model: "It has no score in a task that most models have."
        for model in entrants.evaluations
        if model not in found.ranks
    } | found.unreadable
    left_out = {entrants.suites[suite][1]: why for suite, why in entrants.left_out.items()}
    return evaluation_pb2.Ranking(
        models=[evaluation_pb2.RankedModel(model=model, **asdict(rank)) for model, rank in ordered],
        tasks=sorted(f"{entrants.suites[suite][1]}/{task}" for suite, task in found.tasks),
        left_out=[
            evaluation_pb2.LeftOut(what=what, why=why) for what, why in (*left_out.items(), *sorted(lacking.items()))
        ],
        ledger_size=size,
    )
