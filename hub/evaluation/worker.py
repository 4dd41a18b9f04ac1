"""The process that evaluates: long-lived, offline, fed with JSON lines on stdin, answering on stdout.

`python -m hub.evaluation.worker`. A request names a model's folder and suites' folders; each suite is answered by one line
as soon as it is scored. lm-eval runs through its Python API; its caches, YAML and task index are never touched.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO


def protect_stdout() -> TextIO:
    """Our answers keep the real stdout; whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def main() -> None:
    answers = protect_stdout()
    from hub.evaluation.scorer import Scorer

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        for answer in _answers(request, Scorer):
            answers.write(json.dumps(answer) + "\n")
        answers.write(json.dumps({"done": request["model"]}) + "\n")


def _answers(request: Mapping[str, Any], scorer: Any) -> Iterator[dict[str, Any]]:
    try:
        loaded = scorer(Path(request["folder"]))
    except Exception as error:
        for suite in request["suites"]:
            yield {
                "suite": suite["id"],
                "failure": f"the model could not be loaded: {_sentence(error)}",
                "seconds": 0.0,
            }
        return
    for suite in request["suites"]:
        started = time.monotonic()
        try:
            scores, samples = loaded.evaluate(Path(suite["folder"]))
            Path(suite["samples"]).write_text("".join(json.dumps(sample) + "\n" for sample in samples))
            answer: dict[str, Any] = {"suite": suite["id"], "scores": scores}
        except Exception as error:
            answer = {"suite": suite["id"], "failure": _sentence(error)}
        yield {**answer, "seconds": time.monotonic() - started}


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]


if __name__ == "__main__":
    main()
