"""Screening: MB of text a second for the whole rule set on two processors, for each rule, and against peers in the same run.

`python benchmarks/screening.py`. The texts are documentation, licences and source files of the packages installed beside this
project, cut into rows of up to 4,000 characters. Peers: datasketch's MinHash of the same shingles, Python's `re` with the
same patterns, sha256 of the same bytes. Medians of interleaved rounds; the load is printed, as a busy machine makes every
figure smaller.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path

import datasketch
import re2

from hub.submissions.screening import duplicates, language, minhash, phrases, pii, quality
from hub.submissions.screening.batches import batches
from hub.submissions.screening.contamination import Overlap, grams_of
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import DatasetJob, ShardFile, SuiteGrams
from hub.submissions.screening.screener import Screener
from hub.submissions.screening.words import Batch

BYTES = 12 << 20  # for each of two members
ROUNDS = 3
ROW = 4000
TARGET = 20.0  # MB/s


def texts() -> Iterator[str]:
    folder = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for pattern in (
        "**/*.rst",
        "**/*.md",
        "**/*.txt",
        "licensedcode/data/**/*.LICENSE",
        "numpy/**/*.py",
        "sympy/**/*.py",
    ):
        for path in sorted(folder.glob(pattern)):
            try:
                text = path.read_text()
            except (UnicodeDecodeError, OSError):
                continue
            if 200 < len(text) < 200_000:
                yield from (text[start : start + ROW] for start in range(0, len(text), ROW))


def write(folder: Path) -> tuple[list[ShardFile], list[int]]:
    """Two shards of real text, and the bytes of text in each."""
    rows = (text for text in texts() if text.strip())
    files, sizes = [], []
    for number in range(2):
        path, size, count = folder / f"{number}.jsonl", 0, 0
        with path.open("w") as file:
            for text in rows:
                file.write(json.dumps({"text": text}) + "\n")
                size, count = size + len(text.encode()), count + 1
                if size >= BYTES:
                    break
        files.append(ShardFile(name=path.name, path=str(path), rows=count))
        sizes.append(size)
    return files, sizes


def whole(folder: Path, files: list[ShardFile], suites: tuple[SuiteGrams, ...]) -> list[float]:
    """Seconds until two members' submissions were screened, by two warm processes, as the hub does it."""
    screener, seconds = Screener(folder / "screening"), []
    try:
        for turn in range(ROUNDS + 1):
            began = time.perf_counter()
            going: list[Future[list[Finding]]] = []
            for number, file in enumerate(files):
                name = f"{turn}-{number}"
                job = DatasetJob(
                    id=name,
                    licence="MIT",
                    rows=file.rows,
                    files=(file,),
                    suites=suites,
                    index=str(folder / "index"),
                    folder=str(folder / "jobs" / name),
                )
                going.append(screener.submit(name, f"member-{number}", lambda run, advance, job=job: run(job, advance)))
            for future in going:
                assert not [finding for finding in future.result() if finding.rule == "schema" and not finding.count]
            seconds.append(time.perf_counter() - began)
    finally:
        screener.stop()
    return seconds[1:]  # the first round loads modules and the language model


def rules(overlaps: list[Overlap]) -> dict[str, Callable[[Batch], object]]:
    """In the order in which they share work: folding and hashing words is done once, for all."""
    return {
        "folding, words": lambda batch: batch.words,
        "equal rows": duplicates.digests,
        "MinHash, bands": minhash.keys_of,
        "quality, 18 measures": quality.outside,
        "personal data, RE2": lambda batch: list(pii.find(batch)),
        "language, sampled": language.sample,
        "planted phrases": phrases.runs_of,
        "contamination, 4 suites": lambda batch: [overlap.look(batch) for overlap in overlaps],
    }


def theirs_minhash(batch: Batch) -> object:
    """datasketch with its vectorised update, of shingles hashed beforehand as ours are."""
    shingles, places = batch.ngrams(minhash.SHINGLE)
    rows, sketches = batch.word_rows[places], []
    for row in range(len(batch)):
        sketch = datasketch.MinHash(minhash.FUNCTIONS, hashfunc=int)
        values = (shingles[rows == row] >> 32).tolist()
        if values:
            sketch.update_batch(values)
        sketches.append(sketch)
    return sketches


def plain_patterns() -> Callable[[Batch], object]:
    patterns = [re.compile(pattern.pattern) for _, pattern, _ in pii._RULES]
    return lambda batch: [sum(1 for _ in pattern.finditer(batch.encoded)) for pattern in patterns]


def re2_patterns(batch: Batch) -> object:
    return [sum(1 for _ in pattern.finditer(batch.encoded)) for _, pattern, _ in pii._RULES]


def cpu(work: Callable[[Batch], object], over: list[Batch]) -> float:
    began = time.process_time()
    for batch in over:
        work(batch)
    return time.process_time() - began


def main() -> None:
    assert re2.__name__ == "re2"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files, sizes = write(folder)
        suite = grams_of([[" ".join(f"s{item}w{word}" for word in range(60))] for item in range(2000)])
        suite.save(folder / "suite.npz")
        known = tuple(SuiteGrams(id=f"suite-{n}", suite=f"suite {n}", path=str(folder / "suite.npz")) for n in range(4))
        seconds = whole(folder, files, known)
        rate = sum(sizes) / statistics.median(seconds) / 1e6
        print(f"whole rule set, two members at once, two processes: {rate:.1f} MB/s of text")
        print(f"  ratio to the target of {TARGET:.0f} MB/s: {rate / TARGET:.2f}; load {os.getloadavg()[0]:.1f}")
        table(files, suite)


def table(files: list[ShardFile], suite: object) -> None:
    texts_only = [batch.texts for batch, _ in batches(files[:1])]
    size = sum(len(text.encode()) for group in texts_only for text in group) / 1e6
    overlaps = [Overlap(suite) for _ in range(4)]  # type: ignore[arg-type]
    ours: dict[str, list[float]] = {}
    peers: dict[str, list[float]] = {}
    plain = plain_patterns()
    for work in rules(overlaps).values():
        work(Batch(texts_only[0]))
    for _ in range(ROUNDS):
        fresh = [Batch(group) for group in texts_only]
        for name, work in rules(overlaps).items():
            ours.setdefault(name, []).append(cpu(work, fresh))
        few = fresh[:8]
        part = sum(len(batch.encoded) for batch in few) / 1e6
        for name, work in {
            "MinHash, ours": minhash.keys_of,
            "MinHash, datasketch": theirs_minhash,
            "patterns, RE2": re2_patterns,
            "patterns, Python re": plain,
            "sha256": lambda batch: sha256(batch.encoded),
        }.items():
            peers.setdefault(name, []).append(cpu(work, few) / part)
    print(f"\n{'rule':26}{'ms of one processor a MB':>26}")
    for name, spent in ours.items():
        print(f"{name:26}{1000 * statistics.median(spent) / size:26.1f}")
    median = {name: 1000 * statistics.median(spent) for name, spent in peers.items()}
    print(f"\n{'peer':26}{'ms of one processor a MB':>26}")
    for name, value in median.items():
        print(f"{name:26}{value:26.1f}")
    print(f"MinHash against datasketch: {median['MinHash, datasketch'] / median['MinHash, ours']:.1f} times as fast")
    print(f"patterns against Python's re: {median['patterns, Python re'] / median['patterns, RE2']:.1f} times as fast")


if __name__ == "__main__":
    main()
