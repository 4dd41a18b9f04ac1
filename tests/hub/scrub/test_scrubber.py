"""The scrub of a hub that serves: what is damaged is logged and set aside, and a round that was cut goes on where it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hub.foundation import Foundation
from hub.scrub import scrubber as module
from hub.scrub.scrubber import SHARE, Course, Scrubber, pause
from hub.scrub.stages import Scrub
from hub.server import projecting, register_projections
from protos.documents.base import now
from protos.documents.members import Member
from protos.documents.statements import HUB
from tests.hub.scrub.conftest import Copy, flip
from trust.digests import Digest, digest_bytes, hex_of
from trust.keys import ArtifactKey

FAST = 1 << 40
LONG_AGO = "2020-01-01T00:00:00.000Z"


@contextmanager
def opened(copy: Copy) -> Iterator[tuple[Foundation, Scrubber]]:
    """As a hub that serves has it open."""
    base = Foundation.open(copy.settings)
    register_projections(base.journal)
    base.journal.start()
    project = projecting(base.blobs, base.log, base.statement_key)
    scrub = Scrub(copy.settings, base.blobs, base.database, project)
    try:
        yield base, Scrubber(scrub, copy.settings.scrub_file, days=7, rate=FAST)
    finally:
        base.journal.stop()
        base.database.close()
        base.blobs.close()


class Told(logging.Handler):
    """What the scrub logs; `heard` is set by the first line that holds `word`."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._word, self.heard = word, asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if self._word in self.lines[-1]:
            self._loop.call_soon_threadsafe(self.heard.set)


async def run_until(scrubber: Scrubber, word: str) -> list[str]:
    """Let it run until a line of its log holds the word, then stop it as a hub that stops does."""
    told, log = Told(word), logging.getLogger(module.__name__)
    log.addHandler(told)
    log.setLevel(logging.INFO)
    running = asyncio.create_task(scrubber.run())
    try:
        await asyncio.wait_for(told.heard.wait(), 60)
    finally:
        log.removeHandler(told)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return told.lines


def due(copy: Copy, **values: str) -> None:
    Course(began=LONG_AGO, **values).save(copy.settings.scrub_file)


def digests(copy: Copy) -> list[Digest]:
    paths = sorted((copy.settings.blobs_dir / "sha256").glob("??/*"), key=lambda path: path.name)
    return [Digest(f"sha256:{path.name}") for path in paths]


def test_a_new_hub_has_nothing_to_scrub_for_a_while(copy: Copy) -> None:
    flip(copy.blob(digests(copy)[0]))
    with opened(copy) as (_, scrubber):

        async def start() -> None:
            running = asyncio.create_task(scrubber.run())
            while not copy.settings.scrub_file.exists():
                await asyncio.sleep(0)
            running.cancel()

        asyncio.run(start())
    course = Course.load(copy.settings.scrub_file)
    assert course.stage == ""
    assert 6.9 < course.seconds_left(7) / 86_400 <= 7


def test_a_damaged_blob_is_set_aside_and_told_with_whose_it_is(copy: Copy) -> None:
    digest = digest_bytes(b"{}")  # the configuration of every model
    flip(copy.blob(digest))
    due(copy)
    with opened(copy) as (base, scrubber):
        lines = asyncio.run(run_until(scrubber, "is through"))
        assert not base.blobs.has(digest)
        assert base.blobs.was_set_aside(digest)
        base.blobs.put(b"{}")
        assert base.blobs.read(digest) == b"{}"
    assert (copy.settings.blobs_dir / "damaged" / hex_of(digest)).read_bytes() != b"{}"
    told = [line for line in lines if digest in line]
    assert "was changed" in told[0]
    assert any("config.json" in line and "model tiny-1" in line for line in told[1:])
    assert copy.scrub() == []


def test_a_sound_hub_is_scrubbed_while_entries_come_and_nothing_is_told(copy: Copy) -> None:
    due(copy)
    with opened(copy) as (base, scrubber):

        async def both() -> list[str]:
            running = asyncio.create_task(run_until(scrubber, "is through"))
            for number in range(300):
                await asyncio.to_thread(_enrol, base, f"late-{number}")
            return await running

        lines = asyncio.run(both())
    assert [line for line in lines if line.startswith("scrub:") or "cut short" in line] == []
    assert not (copy.settings.blobs_dir / "damaged").exists()
    assert not copy.settings.scrub_dir.exists()


def _enrol(base: Foundation, member: str) -> None:
    pem = ArtifactKey.generate().public.pem().decode()
    values = {"member": member, "organisation": member, "role": "viewer", "artifact_key": pem}
    base.journal.sign_and_record(Member.read({"hub": base.settings.name, "signer": HUB, **values}))


def test_a_round_that_was_cut_goes_on_behind_what_it_has_read(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVED", -1.0)
    monkeypatch.setattr(module, "MOMENT", 0.0)
    stored = digests(copy)
    first, middle, last = stored[3], stored[len(stored) // 2], stored[-3]
    flip(copy.blob(middle))
    due(copy)
    with opened(copy) as (_, scrubber):
        asyncio.run(run_until(scrubber, middle))
    course = Course.load(copy.settings.scrub_file)
    assert (course.stage, course.began != LONG_AGO) == ("blobs", True)
    assert stored.index(Digest(course.after)) == len(stored) // 2 - 1
    flip(copy.blob(first))
    flip(copy.blob(last))
    with opened(copy) as (base, scrubber):
        lines = "\n".join(asyncio.run(run_until(scrubber, "is through")))
        assert base.blobs.was_set_aside(last)
    assert last in lines
    assert not any(first in line for line in lines.splitlines() if "was changed" in line and "entry" not in line)


def test_a_course_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "scrub.json").write_bytes(b"{")
    assert Course.load(tmp_path / "scrub.json").seconds_left(7) > 0


def test_the_pause_keeps_to_the_rate_and_to_a_part_of_the_processor() -> None:
    assert pause(10 << 20, 0.0, 1 << 20) == 10
    assert pause(10 << 20, 1.0, 1 << 20) == 9
    assert pause(0, 1.0, 1 << 20) == SHARE - 1
    assert Course(began=now()).seconds_left(0) == 0
