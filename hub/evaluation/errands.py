"""Evaluations as work for nodes: pairs of a model and a suite that every member may read go to nodes that no run needs.

A node's answer is a log, which is believed as far as the hub's own sandbox's: the hub computes the scores. That the log is what
the model said is the node's word; the statement names it, and the log stays for anybody who computes it again. Suites that not
every member may read never leave the hub.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from hub.evaluation import store
from hub.evaluation.outputs import Evaluated, believe
from hub.evaluation.reasons import hopeless
from hub.evaluation.recording import Recorder
from hub.evaluation.turns import Pair, Suite, Turns
from hub.models import registry
from hub.models.registry import ModelRow
from learning.grading import credit
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.base import FileEntry
from protos.documents.evaluations import read_log
from protos.documents.graded import regraded
from trust.digests import parse_digest
from trust.errors import Corrupt, Problem, Unavailable

TRIES = 3
"""Nodes that a pair is given to, one after the other; then the hub does it itself."""
MOST_WORDS = 300
LOOK = 2.0  # seconds between looks at which nodes are free: they say nothing when they are
Key = tuple[str, str]
_log = logging.getLogger(__name__)


class AskedEnough(Problem):
    """A node says that the pair itself fails. That is no node's to say, and others would only say the same: the hub tries."""


class Nodes(Protocol):
    """Who can be asked (`hub.training.lending`): `willing` are those that no run needs, `free` those of them without an order.

    `judged` says whether an answer was of use: who gives none that is, is not asked for ever.
    """

    def willing(self) -> list[str]: ...
    def free(self) -> list[str]: ...
    async def ask(self, node: str, order: training_pb2.Evaluate) -> training_pb2.Evaluated: ...
    def judged(self, node: str, *, sound: bool) -> None: ...


class Nobody:
    """A hub without nodes."""

    def willing(self) -> list[str]:
        return []

    def free(self) -> list[str]:
        return []

    async def ask(self, node: str, order: training_pb2.Evaluate) -> training_pb2.Evaluated:
        raise NotImplementedError

    def judged(self, node: str, *, sound: bool) -> None:
        raise NotImplementedError


class Errands:
    """`changed` is called when a pair comes back, and when a node comes or goes."""

    def __init__(self, nodes: Nodes, recorder: Recorder, seconds: int, changed: Callable[[], None]) -> None:
        self._nodes, self._recorder, self._seconds, self._changed = nodes, recorder, seconds, changed
        self._news = asyncio.Event()
        self._turns = Turns()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._at: dict[Key, str] = {}  # the node of each of these
        self._failed: defaultdict[Key, set[str]] = defaultdict(set)  # the nodes that had it, and nothing came of it
        self._ours: set[Key] = set()  # what the hub does itself, whoever is willing
        self._holds: dict[str, str] = {}  # node -> the model that it had last
        self._harness: dict[str, str] = {}  # node -> what it said that it computes with

    async def run(self, waiting: Callable[[], list[Pair]]) -> None:
        """Until cancelled. `waiting`, which may block, is looked up when there are news and nodes to tell."""
        more, there = False, set[str]()
        while True:
            more, willing = more or self._news.is_set(), set(self._nodes.willing())
            self._news.clear()
            if willing != there:
                more, there = True, willing
                self._changed()
            if more and self._free():
                had = set(self._tasks)  # what comes back meanwhile is told by news of its own
                found = await asyncio.to_thread(waiting)
                more = self.send([pair for pair in found if _key(*pair) not in had])
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._news.wait()

    def heard(self) -> None:
        """Something may wait that did not before."""
        self._news.set()

    def has(self, model: str, suite: str) -> bool:
        """Whether a pair is at a node now."""
        return (model, suite) in self._tasks

    def own(self, waiting: list[Pair]) -> list[Pair]:
        """What the hub does itself, as all while runs need the nodes; the rest is for nodes, now or when one is free."""
        willing = set(self._nodes.willing())
        return [pair for pair in waiting if not self._takes(pair, willing)]

    def _takes(self, pair: Pair, willing: set[str]) -> bool:
        """Whether a pair is at a node, or there is one for it that has not failed it."""
        key = _key(*pair)
        if key in self._tasks:
            return True
        return pair[1].visibility == "members" and key not in self._ours and self._may(key, willing)

    def _may(self, key: Key, nodes: set[str]) -> bool:
        return bool(nodes - self._failed.get(key, set()))

    def send(self, waiting: list[Pair]) -> bool:
        """What waits to the nodes that are free, authors in turn, to each the model that it holds if there is work for it.

        Whether there is more than that.
        """
        willing = set(self._nodes.willing())
        left = [pair for pair in waiting if _key(*pair) not in self._tasks and self._takes(pair, willing)]
        for node in self._free():
            fit = [pair for pair in left if self._may(_key(*pair), {node})]
            if not fit:
                continue
            pair = self._turns.take(fit, self._holds.get(node, ""))
            left = [each for each in left if each is not pair]
            self._holds[node] = pair[0].id
            self._at[_key(*pair)] = node
            self._tasks[_key(*pair)] = asyncio.create_task(self._errand(node, *pair))
        return bool(left)

    def _free(self) -> list[str]:
        busy = set(self._at.values())
        return [node for node in self._nodes.free() if node not in busy]

    async def stop(self) -> None:
        """Nobody waits for what is at nodes any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _errand(self, node: str, model: ModelRow, suite: Suite) -> None:
        key = _key(model, suite)
        try:
            await self._evaluate(node, model, suite)
            self._failed.pop(key, None)
        except AskedEnough as failure:
            self._ours.add(key)
            _log.warning("%s by %s failed on %s: %s", model.id, suite.id, node, failure.what)
        except Problem as problem:  # the node's or the way to it: another is asked
            self._failed[key].add(node)
            tries = len(self._failed[key])
            if tries >= TRIES:
                self._ours.add(key)
            _log.warning("%s by %s on %s, try %d: %s", model.id, suite.id, node, tries, problem.what)
        except Exception:  # a fault of ours must not be met again and again
            self._ours.add(key)
            _log.exception("%s by %s on %s", model.id, suite.id, node)
        finally:
            del self._tasks[key], self._at[key]
            self._news.set()
            self._changed()

    async def _evaluate(self, node: str, model: ModelRow, suite: Suite) -> None:
        """Raises `Problem` where nothing came of it."""
        if known := self._harness.get(node):
            before = await asyncio.to_thread(self._recorder.done_before, model, suite, known, node)
            if before:
                await asyncio.to_thread(self._recorder.record, model, suite, before, known)
                return
        files = await asyncio.to_thread(self._recorder.read, suite)
        order = training_pb2.Evaluate(
            id=secrets.token_hex(8),  # nodes repeat what they said, also to a hub that was started again
            model=model.id,
            model_files=_messages(registry.files(model)),
            suite=suite.id,
            name=store.reference(suite),
            suite_files=_messages(suite.files),
            seconds=self._seconds,
        )
        began = time.monotonic()
        answer = await self._nodes.ask(node, order)
        evaluated = await self._judged(node, answer, files)
        evaluated = replace(evaluated, seconds=time.monotonic() - began, node=node)
        self._harness[node] = answer.harness
        await asyncio.to_thread(self._recorder.record, model, suite, evaluated, answer.harness)

    async def _judged(self, node: str, answer: training_pb2.Evaluated, files: dict[str, bytes]) -> Evaluated:
        """As `_believed`, of which the node's own part counts for or against it. That a pair fails may be so."""
        try:
            evaluated = await asyncio.to_thread(self._believed, answer, files)
        except AskedEnough:
            raise
        except Problem:
            self._nodes.judged(node, sound=False)
            raise
        self._nodes.judged(node, sound=True)
        return evaluated

    def _believed(self, answer: training_pb2.Evaluated, files: dict[str, bytes]) -> Evaluated:
        """Raises `AskedEnough` for what the hub has to see for itself, other `Problem`s where another node may do better."""
        if answer.trouble:
            raise Unavailable(f"It could not: {answer.trouble[:MOST_WORDS]}")
        if hopeless(answer.why):
            raise AskedEnough(answer.why[:MOST_WORDS])
        if answer.why:
            raise Unavailable(f"It was cut short: {answer.why[:MOST_WORDS]}")
        if not 0 < len(answer.harness) <= MOST_WORDS or not answer.harness.isprintable():
            raise Corrupt("It does not say what it computes with.")
        found = believe(self._recorder.read_output(parse_digest(answer.output.digest)), files)
        if found.failure:
            raise AskedEnough(found.failure[:MOST_WORDS])
        for wrong in regraded(files, read_log(found.log), credit):  # it would bring its own key to the answers
            raise Corrupt(wrong)
        return found


def _key(model: ModelRow, suite: Suite) -> Key:
    return model.id, suite.id


def _messages(files: list[FileEntry] | tuple[FileEntry, ...]) -> list[common_pb2.File]:
    return [common_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in files]
