"""Ends the training process when it hangs: its memory is warm for many rounds, so nothing else would ever end it.

`coalition site start` then starts it and the SuperNode again, and the hub gives the site its task once more.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 600.0
LEAST = 1.0
HUNG = 70  # EX_SOFTWARE of sysexits.h


@contextmanager
def watched(patience: float = PATIENCE, least: float = LEAST) -> Iterator[None]:
    """While the block runs, this process ends if it used less than `least` seconds of processor in `patience` seconds.

    Whoever trains computes, also beside a GPU and on a busy machine; whoever waits for a lock or a dead driver does not. Where
    each thread stood is written to standard error.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(over, patience, least), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(over: threading.Event, patience: float, least: float) -> None:
    used = time.process_time()
    while not over.wait(patience):
        now = time.process_time()
        if now - used < least:
            sys.stderr.write(f"the round's work stood still for {patience:.0f} s; this process ends\n")
            faulthandler.dump_traceback(all_threads=True)
            os._exit(HUNG)
        used = now
