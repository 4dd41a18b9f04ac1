"""Where the pages get their answers: the hub, through one shared connection, remembered for a moment.

Sessions share the answers, so that many viewers cost the hub no more than one. Pages must not change them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import streamlit as st

from contributors.client import Coalition
from contributors.home import Home, Identity
from protos.coalition.v1 import (
    evaluation_pb2,
    ledger_pb2,
    members_pb2,
    models_pb2,
    rounds_pb2,
    submissions_pb2,
    training_pb2,
)

FRESH_SECONDS = 2
MAX_REMEMBERED = 200

F = TypeVar("F", bound=Callable[..., object])


def _briefly(function: F) -> F:
    remember = st.cache_resource(ttl=FRESH_SECONDS, max_entries=MAX_REMEMBERED, show_spinner=False)
    return cast(F, remember(function))


def _once(function: F) -> F:
    return cast(F, st.cache_resource(show_spinner=False)(function))


@_once
def _connection() -> Coalition:
    return Coalition(Home.default())


def coalition() -> Coalition:
    """The connection of the home that `coalition dashboard` runs for. Raises `NotFound` before enrolment."""
    connection = _connection()
    connection.keep_fresh()
    return connection


def identity() -> Identity:
    return coalition().identity


@_briefly
def leaderboard() -> evaluation_pb2.Leaderboard:
    return coalition().leaderboard()


@_briefly
def ranking(domain: str) -> evaluation_pb2.Ranking:
    return coalition().ranking(domain)


@_briefly
def evaluations(model: str) -> list[evaluation_pb2.Evaluation]:
    return list(coalition().evaluations(model=model).evaluations)


@_briefly
def models() -> list[models_pb2.Model]:
    return coalition().models()


@_briefly
def model(identifier: str) -> models_pb2.Model:
    return coalition().model(identifier)


@_briefly
def lineage(identifier: str) -> models_pb2.Lineage:
    return coalition().lineage(identifier)


@_briefly
def releases() -> list[models_pb2.Release]:
    return coalition().releases()


@_briefly
def members() -> list[members_pb2.Member]:
    return coalition().members()


@_briefly
def submissions() -> list[submissions_pb2.Submission]:
    return coalition().submissions("")


@_briefly
def runs() -> list[training_pb2.Run]:
    return coalition().runs()


@_briefly
def run(identifier: str) -> training_pb2.Run:
    return coalition().run(identifier)


@_briefly
def nodes() -> list[training_pb2.Node]:
    return coalition().nodes()


@_briefly
def campaigns() -> list[rounds_pb2.Campaign]:
    return coalition().campaigns()


@_briefly
def campaign(identifier: str) -> rounds_pb2.Campaign:
    return coalition().campaign(identifier)


@_briefly
def head() -> ledger_pb2.TreeHead:
    return coalition().head()


@_briefly
def entries(start: int, count: int) -> list[ledger_pb2.LedgerEntry]:
    return coalition().entries(start, count)
