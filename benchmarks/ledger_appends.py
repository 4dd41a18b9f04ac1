"""Durable, acknowledged appends per second of the ledger, against the same bytes with one flush per group, and one at a time.

    python -m benchmarks.ledger_appends [--appenders 1000] [--seconds 3] [--directory DIR]

A thousand appenders each wait for their acknowledgement before they append again: through the group commit, into bundles,
tiles and a signed head, all flushed. *One flush per group* is the limit: groups of the same size and bytes, appended to one
file and flushed (fdatasync), with no tree and no signature. Then the whole journal: signed envelopes of 64 callers, verified,
stored, recorded and projected into the database.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks._measure import interleaved, percentile, show
from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.groups import Groups
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.members import projection as members_projection
from hub.members.directory import prove
from hub.submissions import projection as submissions_projection
from protos.documents.members import Member
from protos.documents.statements import HUB, sign
from protos.documents.submissions import Dataset, DatasetFile
from trust.digests import digest_bytes
from trust.keys import ArtifactKey, LogKey

LEAF = b"x" * 430  # as long as a dataset's leaf
STATEMENTS = 600
CALLERS = 64

Item = tuple[bytes, "asyncio.Future[None]"]


class Appends:
    """Through the group commit; remembers group sizes and latencies of its last run."""

    def __init__(self, directory: Path, appenders: int, seconds: float) -> None:
        self._directory, self._appenders, self._seconds = directory, appenders, seconds
        self.latencies: list[float] = []
        self.sizes: list[int] = []

    def run(self) -> float:
        """Acknowledged appends per second."""
        with tempfile.TemporaryDirectory(dir=self._directory) as folder:
            return asyncio.run(self._run(Log(Path(folder), LogKey.generate("benchmark"))))

    async def _run(self, log: Log) -> float:
        loop = asyncio.get_running_loop()

        def commit(group: list[Item]) -> None:
            log.append([entry for entry, _ in group])
            self.sizes.append(len(group))
            loop.call_soon_threadsafe(_acknowledge, group)

        groups = Groups(commit, "ledger")
        groups.start()
        before, start = len(self.latencies), time.perf_counter()
        await asyncio.gather(*(self._append(groups, number, start) for number in range(self._appenders)))
        seconds = time.perf_counter() - start
        groups.stop()
        return (len(self.latencies) - before) / seconds

    async def _append(self, groups: Groups[Item], number: int, start: float) -> None:
        loop, count = asyncio.get_running_loop(), 0
        while (asked := time.perf_counter()) < start + self._seconds:
            done: asyncio.Future[None] = loop.create_future()
            groups.add((LEAF + b"%d/%d" % (number, count), done))
            await done
            self.latencies.append(time.perf_counter() - asked)
            count += 1


def _acknowledge(group: list[Item]) -> None:
    for _, done in group:
        done.set_result(None)


def flushes(directory: Path, group: int, seconds: float) -> float:
    """Entries per second appended to one file in groups, with one flush each."""
    path = directory / "flat"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    data, count, start = LEAF * group, 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        os.write(descriptor, data)
        os.fdatasync(descriptor)
        count += group
    elapsed = time.perf_counter() - start
    os.close(descriptor)
    path.unlink()
    return count / elapsed


def one_at_a_time(directory: Path, seconds: float) -> float:
    """Appends of one entry each, by one caller."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        log = Log(Path(folder), LogKey.generate("benchmark"))
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            log.append([LEAF + b"%d" % log.size])
        return log.size / (time.perf_counter() - start)


def journal(directory: Path) -> tuple[float, list[float]]:
    """Statements per second through the whole journal, and their latencies."""
    folder = Path(tempfile.mkdtemp(dir=directory))
    database = Database(f"sqlite:///{folder / 'database.sqlite'}")
    database.migrate()
    key, hub_key = ArtifactKey.generate(), ArtifactKey.generate()
    log = Log(folder / "ledger", LogKey.generate("benchmark"))
    recorder = Journal(database, BlobStore(folder / "blobs"), log, hub_key, prove)
    for room in (members_projection, submissions_projection):
        room.register(recorder)
    recorder.start()
    recorder.sign_and_record(_member(key))
    envelopes = [sign(_dataset(number), key) for number in range(STATEMENTS)]
    latencies: list[float] = []

    def record(envelope: bytes) -> None:
        asked = time.perf_counter()
        recorder.record(envelope, "law-institute")
        latencies.append(time.perf_counter() - asked)

    start = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(record, envelopes))
    elapsed = time.perf_counter() - start
    recorder.stop()
    database.close()
    shutil.rmtree(folder)
    return STATEMENTS / elapsed, latencies


def _member(key: ArtifactKey) -> Member:
    fields = {"member": "law-institute", "organisation": "Law Institute", "role": "contributor"}
    return Member.read({"hub": "benchmark", "signer": HUB, "artifact_key": key.public.pem().decode(), **fields})


def _dataset(number: int) -> Dataset:
    name = f"notes-{number}"
    file = DatasetFile(path="notes.jsonl", digest=digest_bytes(name.encode()), size=10, rows=1)
    fields = {"domain": "law", "licence": "MIT", "provenance": "made", "rows": 1, "files": [file.model_dump()]}
    return Dataset.read({"hub": "benchmark", "signer": "law-institute", "name": name, **fields})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appenders", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    given = parser.parse_args()
    appends = Appends(given.directory, given.appenders, given.seconds)
    appends.run()  # its groups' size is what the limit is measured with
    group = int(percentile([float(size) for size in appends.sizes], 0.5))
    appends.latencies.clear()
    contenders: dict[str, Callable[[], float]] = {
        "ledger, group commit": appends.run,
        f"one flush per {group} entries": lambda: flushes(given.directory, group, given.seconds / 3),
        "ledger, one at a time": lambda: one_at_a_time(given.directory, given.seconds / 3),
    }
    figures = interleaved(contenders, 5)
    show("Durable, acknowledged appends", "entries/s", figures, f"one flush per {group} entries")
    p50, p99 = (percentile(appends.latencies, part) * 1e3 for part in (0.5, 0.99))
    print(f"{given.appenders} appenders wait {p50:.1f} ms (median), {p99:.1f} ms (99 of 100)")
    rate, latencies = journal(given.directory)
    print(
        f"whole journal, {CALLERS} callers: {rate:,.0f} statements/s, {percentile(latencies, 0.99) * 1e3:.0f} ms (99 of 100)"
    )


if __name__ == "__main__":
    main()
