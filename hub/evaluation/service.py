"""gRPC: evaluations and the leaderboard."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlmodel import Session

from hub.database import Database
from hub.evaluation import store
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.leaderboard import leaderboard, score_message
from hub.evaluation.ranking import Rankings
from hub.evaluation.tables import EvaluationRow
from hub.submissions import catalogue
from hub.witnesses.finality import Finality
from protos.coalition.v1 import common_pb2, evaluation_pb2, evaluation_pb2_grpc


class EvaluationsService(evaluation_pb2_grpc.EvaluationsServicer):
    """What was evaluated, and what waits for it."""

    def __init__(self, *, database: Database, evaluator: Evaluator, finality: Finality, rankings: Rankings) -> None:
        self._database, self._evaluator, self._finality, self._rankings = database, evaluator, finality, rankings

    async def ListEvaluations(
        self, request: evaluation_pb2.ListEvaluationsRequest, context: Any
    ) -> evaluation_pb2.ListEvaluationsResponse:
        return await asyncio.to_thread(self._list, request.model, request.suite)

    async def GetEvaluation(self, request: common_pb2.ById, context: Any) -> evaluation_pb2.Evaluation:
        def show() -> evaluation_pb2.Evaluation:
            with self._database.session() as session:
                row = store.get(session, request.id)
                return _message(row, _suite_names(session), self._finality.size(session))

        return await asyncio.to_thread(show)

    async def GetLeaderboard(
        self, request: evaluation_pb2.GetLeaderboardRequest, context: Any
    ) -> evaluation_pb2.Leaderboard:
        def compute() -> evaluation_pb2.Leaderboard:
            with self._database.session() as session:
                return leaderboard(session, self._finality.size(session))

        return await asyncio.to_thread(compute)

    async def GetRanking(self, request: evaluation_pb2.GetRankingRequest, context: Any) -> evaluation_pb2.Ranking:
        def compute() -> evaluation_pb2.Ranking:
            with self._database.session() as session:
                return self._rankings.of(session, self._finality.size(session), request.domain)

        return await asyncio.to_thread(compute)

    def _list(self, model: str, suite: str) -> evaluation_pb2.ListEvaluationsResponse:
        answer = evaluation_pb2.ListEvaluationsResponse()
        with self._database.session() as session:
            names, final = _suite_names(session), self._finality.size(session)
            for row in store.recorded(session):
                if model in ("", row.model) and suite in ("", row.suite):
                    answer.evaluations.append(_message(row, names, final))
            for lacking, suites in store.waiting(session):
                for wanted in suites:
                    answer.waiting += 1
                    if model in ("", lacking.id) and suite in ("", wanted.id):
                        state = "running" if self._evaluator.is_running(lacking.id, wanted.id) else "waiting"
                        reason = self._evaluator.troubles.get((lacking.id, wanted.id), "")
                        answer.evaluations.add(
                            model=lacking.id,
                            suite=wanted.id,
                            suite_name=store.reference(wanted),
                            state=state,
                            reason=reason,
                        )
        return answer


def _suite_names(session: Session) -> dict[str, str]:
    return {suite.id: store.reference(suite) for suite in catalogue.suites(session)}


def _message(row: EvaluationRow, suites: dict[str, str], final: int) -> evaluation_pb2.Evaluation:
    done = "failed" if row.failure else "finished"
    return evaluation_pb2.Evaluation(
        id=row.id,
        model=row.model,
        suite=row.suite,
        suite_name=suites.get(row.suite, ""),
        state=done if row.index < final else "pending",
        reason=row.failure,
        scores=[score_message(score) for score in store.scores(row)],
        recorded_at=row.recorded_at,
        seconds=row.seconds,
        samples=row.samples,
        same_as=row.same_as,
        node=row.node,
    )
