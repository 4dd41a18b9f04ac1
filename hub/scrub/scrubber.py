"""The scrub that runs while the hub serves: slowly, again every few days, from where it stopped when the hub was stopped."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from hub.scrub.findings import Damage, Step, Walk
from hub.scrub.stages import Scrub
from protos.documents.base import Document, now
from trust.canonical import emit, parse
from trust.digests import CHUNK, Digest
from trust.errors import Problem
from trust.files import write_atomic

SAVED = 30.0
"""Seconds after which it is written down how far the walk is."""
MOMENT = 0.05
"""Seconds of work between two pauses, where steps are short."""
SHARE = 5
"""At most one part in so many of one core is taken."""

_log = logging.getLogger(__name__)


class Course(Document):
    """When the present round began, and where it goes on; no stage when it is over."""

    began: str
    stage: str = ""
    after: str = ""

    @classmethod
    def load(cls, file: Path) -> Course:
        """A hub that was never scrubbed has nothing old enough to look at yet."""
        try:
            return cls.read(parse(file.read_bytes()))
        except (OSError, Problem):
            return cls(began=now())

    def save(self, file: Path) -> None:
        write_atomic(file, emit(self.model_dump()))

    def seconds_left(self, days: float) -> float:
        """Until the next round."""
        due = dt.datetime.fromisoformat(self.began) + dt.timedelta(days=days)
        return max(0.0, (due - dt.datetime.now(dt.UTC)).total_seconds())


class Scrubber:
    """A round every `days`, reading `rate` bytes a second. What is damaged is logged; a damaged blob is set aside."""

    def __init__(self, scrub: Scrub, file: Path, days: float, rate: int) -> None:
        self._scrub, self._file, self._days, self._rate = scrub, file, days, rate
        self._saved = 0.0
        self._damaged: set[str] = set()

    async def run(self) -> None:
        """Does not end, unless `days` is 0: then nothing is scrubbed."""
        while self._days:
            course = await asyncio.to_thread(Course.load, self._file)
            if not course.stage:
                if not self._file.exists():
                    await self._keep(course, at_once=True)
                await asyncio.sleep(course.seconds_left(self._days))
                course = Course(began=now(), stage=self._scrub.stages[0])
            await self.round(course)

    async def round(self, course: Course) -> None:
        """Every stage from the one where it was left on."""
        stages = self._scrub.stages
        first = stages.index(course.stage) if course.stage in stages else 0
        _log.info("the scrub goes through %s", ", ".join(stages[first:]))
        for stage in stages[first:]:
            course = course.model_copy(update={"stage": stage, "after": course.after if stage == course.stage else ""})
            await self._keep(course, at_once=True)
            try:
                await self._walk(course)
            except (Problem, OSError, sqlite3.DatabaseError) as error:
                _log.error("the scrub of the %s was cut short: %s", stage, error)
        self._damaged.clear()
        await self._keep(Course(began=course.began), at_once=True)
        _log.info("the scrub is through")

    async def _walk(self, course: Course) -> None:
        walk = self._scrub.walk(course.stage, course.after, self._damaged)
        try:
            while (step := await self._next(walk)) is not None:
                for damage in step.damage:
                    await asyncio.to_thread(self._meet, damage)
                await self._keep(course.model_copy(update={"after": step.after}))
        finally:
            with suppress(ValueError):  # the thread is in the middle of a step, and the process ends
                walk.close()

    async def _next(self, walk: Walk) -> Step | None:
        """The next piece, after a pause that keeps to the rate and leaves the processor to others."""
        began = time.monotonic()
        step = await asyncio.to_thread(_piece, walk)
        if step is not None:
            await asyncio.sleep(pause(step.size, time.monotonic() - began, self._rate))
        return step

    def _meet(self, damage: Damage) -> None:
        """What is damaged is read once more before it is set aside."""
        _log.error("scrub: %s", damage.sentence())
        if damage.kind == "blob":
            self._damaged.add(damage.name)
            self._scrub.blobs.set_aside(Digest(damage.name))

    async def _keep(self, course: Course, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._saved > SAVED:
            self._saved = time.monotonic()
            await asyncio.to_thread(course.save, self._file)


def _piece(walk: Walk) -> Step | None:
    """So many steps of the walk as make a mebibyte or take a moment, as one; up to the first damage. None at the end."""
    last, size, end = None, 0, time.monotonic() + MOMENT
    for step in walk:
        last, size = step, size + step.size
        if step.damage or size >= CHUNK or time.monotonic() >= end:
            break
    return last and Step(last.after, size, last.damage)


def pause(size: int, seconds: float, rate: int) -> float:
    """Seconds to rest after a step that read `size` bytes in so many seconds, at `rate` bytes a second on the whole."""
    return max(size / rate - seconds, (SHARE - 1) * seconds)
