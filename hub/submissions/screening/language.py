"""Which languages a dataset is written in, by py3langid on a sample of its rows.

py3langid (Lui and Baldwin 2012, "langid.py", with a newer code base) carries its model in the package, needs numpy alone and
calls nobody. It names one of 97 languages for any text, so short and unwordy samples are not asked.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from hub.submissions.screening.words import Batch

SAMPLES = 8  # rows of a batch
CHARACTERS = 400  # of a row
MIN_LETTERS = 40


def sample(batch: Batch) -> Counter[str]:
    """Language codes (ISO 639-1) and how many of the sampled rows are in each."""
    step = max(1, len(batch) // SAMPLES)
    found: Counter[str] = Counter()
    for text in batch.texts[::step][:SAMPLES]:
        piece = text[:CHARACTERS]
        if sum(map(str.isalpha, piece)) >= MIN_LETTERS:
            found[str(_identifier().classify(piece)[0])] += 1
    return found


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
