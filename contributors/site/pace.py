"""How often the site's processes look for each other's work: soon at first, then ever less often."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from flwr.supercore.inflatable import inflatable_utils

SHORTEST = 0.04
SHARE = 20
KNOWN = "1.41."
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Pace:
    """A pause is a twentieth of what was waited since the last work, from 40 ms up to `longest` seconds: it adds a twentieth
    to a wait at the most, and a long wait costs few looks."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.restart()

    def restart(self) -> None:
        """There was work."""
        self._since = time.monotonic()

    def pause(self) -> float:
        """Seconds."""
        return min(self._longest, max(SHORTEST, (time.monotonic() - self._since) / SHARE))

    def sleep(self, looked: float) -> None:
        """Until a pause after the last look has passed, which began at `looked` on the monotonic clock."""
        time.sleep(max(0.0, looked + self.pause() - time.monotonic()))


def pull_quickly() -> None:
    """Let Flower look soon for a message's parts that are still on their way.

    It looks for them after 1, 2, 4, 8 and then every 10 seconds, and has no setting for it: those are defaults of two functions
    (flwr 1.41; any other version is left as it is). How long it looks in all, two hours, stays.
    """
    if version("flwr").startswith(KNOWN):
        quick: dict[str, Any] = {"initial_backoff": FIRST_PAUSE, "backoff_cap": LONGEST_PAUSE}
        for function in (inflatable_utils.pull_objects, inflatable_utils.pull_and_inflate_object_from_tree):
            function.__kwdefaults__.update(quick, max_tries_per_object=None)
