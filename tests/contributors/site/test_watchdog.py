"""A training process that hangs ends itself; one that works does not."""

from __future__ import annotations

import subprocess
import sys
import threading

from contributors.site.watchdog import HUNG, watched

_HANGS = """
import threading
from contributors.site.watchdog import watched
with watched(0.2, 0.1):
    threading.Lock().acquire() and threading.Event().wait()
"""


def test_a_hung_process_ends_and_says_where_it_stood() -> None:
    done = subprocess.run([sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == HUNG
    assert "stood still" in done.stderr
    assert "wait" in done.stderr.split("stood still")[1], "the traceback of the thread that hung"


def test_nobody_watches_before_and_after_the_work() -> None:
    before = threading.active_count()
    with watched():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
