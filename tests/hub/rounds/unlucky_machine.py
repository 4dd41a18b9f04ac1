"""A machine with bad luck, for processes that start with this file as `sitecustomize` in PYTHONPATH.

Files beside it say which luck, and may come and go at any moment: `seconds` holds how far ahead Python's clock is, and while
there is a file `cut` the SuperNode dies in the middle of its next upload. `time.time` and what is not Python keep the true time:
gRPC counts deadlines with both.
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_true_datetime = datetime.datetime


def _ahead() -> float:
    try:
        return float((_HERE / "seconds").read_text())
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

if "contributors.site.supernode" in sys.orig_argv:
    from flwr.supernode.fleet_http_client import FleetHttpClient

    _push = FleetHttpClient.PushObject

    def _push_and_die(self: FleetHttpClient, request: Any) -> Any:
        """One part of the update arrives; the others do not."""
        answer = _push(self, request)
        if (_HERE / "cut").exists():
            (_HERE / "cut").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    FleetHttpClient.PushObject = _push_and_die  # type: ignore[method-assign]
