"""Inclusion proofs per second of the ledger, against pymerkle's in-memory tree of the same entries.

    python -m benchmarks.ledger_proofs [--entries 100000] [--proofs 5000]

Ours are read from the log's verified tiles on disk; full tiles stay in memory once they were read (cold: none of them was).
Both trees are those of RFC 6962, and the proofs of both are checked against our root.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pymerkle import InmemoryTree

from benchmarks._measure import interleaved, show
from hub.ledger.log import Log
from trust.keys import LogKey
from trust.merkle import leaf_hash, verify_inclusion

GROUP = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--proofs", type=int, default=5000)
    given = parser.parse_args()
    entries = [b"entry %d" % number for number in range(given.entries)]
    indices = random.Random(1).choices(range(given.entries), k=given.proofs)
    with tempfile.TemporaryDirectory() as folder:
        key = LogKey.generate("benchmark")
        log = Log(Path(folder), key)
        for start in range(0, len(entries), GROUP):
            log.append(entries[start : start + GROUP])
        peer = InmemoryTree.init_from_entries(entries)
        check(log, peer, indices[:100])

        def cold() -> float:
            return rate(Log(Path(folder), key).reader().inclusion, indices)

        contenders: dict[str, Callable[[], float]] = {
            "ledger": lambda: rate(log.reader().inclusion, indices),
            "ledger, just opened": cold,
            "pymerkle": lambda: rate(lambda index: peer.prove_inclusion(index + 1, given.entries), indices[:500]),
        }
        show(f"Inclusion proofs in {given.entries:,} entries", "proofs/s", interleaved(contenders, 5), "pymerkle")


def check(log: Log, peer: InmemoryTree, indices: list[int]) -> None:
    """Both trees are the same, and our proofs hold in it."""
    reader = log.reader()
    assert peer.get_root() == log.head.root
    for index in indices:
        verify_inclusion(index, log.size, leaf_hash(reader.entry(index)), reader.inclusion(index), log.head.root)


def rate(prove: Callable[[int], object], indices: list[int]) -> float:
    start = time.perf_counter()
    for index in indices:
        prove(index)
    return len(indices) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
