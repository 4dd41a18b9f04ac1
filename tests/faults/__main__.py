"""`make faults`: every point, or a seeded sample of them; prints the table and fails when a promise was broken."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.faults import injection
from tests.faults.injection import Point
from tests.faults.trial import Result, Trials, table, trials

ENOUGH = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only N points, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--workers", type=int, default=2, help="faults at the same time")
    parser.add_argument("--count", action="store_true", help="say how many points there are, and try none")
    chosen = parser.parse_args()
    if reason := injection.unavailable():
        print(f"Nothing can be injected: {reason}.", file=sys.stderr)
        return 2
    started = time.monotonic()
    with ExitStack() as stack:
        workers = [stack.enter_context(trials()) for _ in range(chosen.workers)]
        if chosen.count:
            return _count(workers[0].points)
        results = _run(workers, chosen.sample, chosen.seed)
    return _print(results, time.monotonic() - started, bool(chosen.sample))


def _count(points: list[Point]) -> int:
    shown = Table("scenario", "call", "of threads that start later", "points")
    counts = Counter((point.scenario, point.call, "yes" if point.path else "") for point in points)
    for key, count in sorted(counts.items()):
        shown.add_row(*key, str(count))
    Console(width=150).print(shown)
    print(f"{len(points)} points, {sum(point.fault == 'KILL' for point in points)} of them kills.")
    return 0


def _run(workers: list[Trials], sample: int, seed: int) -> list[Result]:
    points = workers[0].points
    if sample:
        points = random.Random(seed).sample(points, min(sample, len(points)))
    free = list(workers)

    def one(number: int) -> Result:
        worker = free.pop()
        try:
            return worker.run(points[number])
        finally:
            free.append(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        done = pool.map(one, range(len(points)))
        return list(track(done, "Injecting", total=len(points), console=Console(stderr=True)))


def _print(results: list[Result], seconds: float, sampled: bool) -> int:
    heading, *rows = table(results)
    shown = Table(*heading)
    for row in rows:
        shown.add_row(*row)
    Console(width=150).print(shown)
    broken = [result for result in results if result.outcome == "broken"]
    for result in broken:
        print(f"BROKEN {result.point}: {result.why}")
    kills = sum(result.outcome == "killed" for result in results)
    print(f"{len(results)} faults in {seconds:.0f} s, {kills} of them kills, {len(broken)} promises broken.")
    if not sampled and kills < ENOUGH:
        print(f"Fewer than {ENOUGH} kill points: the scenarios have become too small.")
        return 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
