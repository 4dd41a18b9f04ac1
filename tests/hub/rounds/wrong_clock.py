"""Python's clock as another machine has it, for processes that start with this as `sitecustomize` in PYTHONPATH.

The file `seconds` beside it says how far ahead it is, and may change at any moment. What is not Python (TLS) keeps the true time.
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path

_true_datetime, _true_time = datetime.datetime, time.time


def _ahead() -> float:
    try:
        return float(Path(__file__).with_name("seconds").read_text())
    except (OSError, ValueError):
        return 0.0


class _Like(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _true_datetime)


class _Shifted(_true_datetime, metaclass=_Like):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        return _true_datetime.now(tz) + datetime.timedelta(seconds=_ahead())


datetime.datetime = _Shifted  # type: ignore[misc]
time.time = lambda: _true_time() + _ahead()
