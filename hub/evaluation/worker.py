"""The process that evaluates: long-lived, offline, fed with JSON lines on stdin, answering on stdout.

`python -m hub.evaluation.worker`. A job names a model's folder and suites' folders; each suite is answered by one line as
soon as it is scored. lm-eval runs through its Python API; its caches, YAML and task index are never touched.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from hub.evaluation.messages import Answer, Job, SuiteFolder, Word
from protos.documents.base import Document
from protos.documents.evaluations import Sample

if TYPE_CHECKING:
    from hub.evaluation.scorer import Scorer

MEMORY_SHARE = 0.75


def main() -> None:
    answers = protect_stdout()
    bound_memory()
    from hub.evaluation.scorer import harness

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    _say(answers, Word(ready=harness()))
    for line in sys.stdin:
        job = Job.model_validate_json(line)
        for word in _do(job):
            _say(answers, word)


def protect_stdout() -> TextIO:
    """Our answers keep the real stdout; whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def bound_memory() -> None:
    """A suite that wants too much fails in here with a MemoryError; if memory runs out all the same, we die and not the hub."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (int(physical * MEMORY_SHARE), hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _say(answers: TextIO, word: Document) -> None:
    answers.write(word.model_dump_json(exclude_defaults=True) + "\n")


def _do(job: Job) -> Iterator[Document]:
    from hub.evaluation.scorer import Scorer

    try:
        scorer = Scorer(Path(job.folder))
    except Exception as error:
        reason = f"The model could not be loaded: {_sentence(error)}"
        yield from (Answer(suite=suite.id, failure=reason, seconds=0) for suite in job.suites)
    else:
        yield Word(loaded=job.model)
        yield from (_evaluate(scorer, suite) for suite in job.suites)
    yield Word(done=job.model)


def _evaluate(scorer: Scorer, suite: SuiteFolder) -> Answer:
    started = time.monotonic()
    try:
        scores, samples = scorer.evaluate(Path(suite.folder))
        _write(Path(suite.samples), samples)
        return Answer(suite=suite.id, scores=tuple(scores), seconds=time.monotonic() - started)
    except Exception as error:
        return Answer(suite=suite.id, failure=_sentence(error), seconds=time.monotonic() - started)


def _write(path: Path, samples: list[Sample]) -> None:
    path.write_text("".join(sample.model_dump_json(exclude_none=True) + "\n" for sample in samples))


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]


if __name__ == "__main__":
    main()
