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
    """Evaluations that count, by model and suite, and models and suites that do not."""

    evaluations: dict[str, list[EvaluationRow]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    ranks: dict[str, Rank]
    tasks: list[str]
    left_out: dict[str, str]


class Rankings:
    """Per-item logs never change, so what was read of them is kept; a ranking is, until other evaluations count."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._logs: OrderedDict[str, Mapping[str, Answers]] = OrderedDict()
        self._known: OrderedDict[tuple[str, ...], _Found] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def of(self, session: Session, final: int, domain: str = "") -> evaluation_pb2.Ranking:
        """From the ledger's first `final` entries; of one domain's suites, or of all."""
        current = store.current_suites(session, final)
        labels = store.labels(list(current.values()))
        chosen = {identifier: suite for identifier, suite in current.items() if domain in ("", suite.domain)}
        entrants = _entrants(session, final, chosen, labels)
        key = tuple(sorted(row.id for rows in entrants.evaluations.values() for row in rows))
        with self._one_at_a_time:
            if key not in self._known:
                self._known[key] = self._computed(entrants, labels)
            self._known.move_to_end(key)
            while len(self._known) > MAX_RANKINGS:
                self._known.popitem(last=False)
            found = self._known[key]
        return _message(found, entrants.left_out | found.left_out, min(final, recorded_size(session)))

    def _computed(self, entrants: _Entrants, labels: Mapping[str, str]) -> _Found:
        answered: dict[str, dict[str, Answered]] = {}
        unreadable: dict[str, str] = {}
        for model, rows in entrants.evaluations.items():
            answered[model] = {}
            for row in rows:
                try:
                    answers = self._answers(row)
                except (Corrupt, NotFound):
                    unreadable[model] = f"The per-item log of {row.id} cannot be read at the hub."
                    continue
                for score in store.scores(row):
                    name = f"{labels[row.suite]}/{score.task}"
                    answered[model][name] = Answered(row.suite, score.metric, score.baseline, answers[score.task])
        ranks, tasks = ranking(answered)
        lacking = {
            model: "It has no score in a task that most models have." for model in answered if model not in ranks
        }
        return _Found(ranks, tasks, lacking | unreadable)

    def _answers(self, row: EvaluationRow) -> Mapping[str, Answers]:
        """Raises `NotFound`, `Corrupt`."""
        if row.samples not in self._logs:
            metrics = {score.task: score.metric for score in store.scores(row)}
            self._logs[row.samples] = Answers.by_task(metrics, read_log(self._blobs.read(Digest(row.samples), MAX_LOG)))
        self._logs.move_to_end(row.samples)
        while len(self._logs) > 1 and sum(map(_items, self._logs.values())) > MAX_ITEMS:
            self._logs.popitem(last=False)
        return self._logs[row.samples]


def _entrants(session: Session, final: int, suites: Mapping[str, Suite], labels: Mapping[str, str]) -> _Entrants:
    """Evaluations that count: final, by a suite whose logs are for everybody, of a model that the suite's author did not make."""
    found, own = _Entrants(), dict[str, str]()
    shares = interests.shares(registry.made(model) for model in registry.all_models(session))
    for row in store.recorded(session):
        if row.index >= final or not row.scores or (suite := suites.get(row.suite)) is None:
            continue
        if suite.visibility != "members":
            found.left_out[labels[suite.id]] = "Its per-item logs are its owner's alone."
        elif not interests.ranked(shares[row.model], suite.member):
            own[row.model] = f"{suite.member}, whose suite {labels[suite.id]} counts, trained half or more of it."
        else:
            found.evaluations[row.model].append(row)
    for model in own:
        found.evaluations.pop(model, None)
    found.left_out |= own
    return found


def _items(log: Mapping[str, Answers]) -> int:
    return sum(len(answers.sizes) for answers in log.values())


def _message(found: _Found, left_out: Mapping[str, str], size: int) -> evaluation_pb2.Ranking:
    ordered = sorted(found.ranks.items(), key=lambda item: -item[1].value)
    return evaluation_pb2.Ranking(
        models=[evaluation_pb2.RankedModel(model=model, **asdict(rank)) for model, rank in ordered],
        tasks=found.tasks,
        left_out=[evaluation_pb2.LeftOut(what=what, why=why) for what, why in sorted(left_out.items())],
        ledger_size=size,
    )
