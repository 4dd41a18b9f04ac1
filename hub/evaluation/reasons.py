"""Why an evaluation failed, in words that may stand in the ledger for everyone to read."""

from __future__ import annotations

import re

RESOURCE = "resource: "
TIME = f"{RESOURCE}it took longer than it may"
MEMORY = f"{RESOURCE}it needs more memory than it may have"
OUTPUT = f"{RESOURCE}it said more than it may"
KILLED = f"{RESOURCE}it was killed, as the kernel does where memory is short"
"""What would come out the same if it were tried again, at everyone else's cost."""

UNLOADABLE = "The model could not be loaded"
BROKEN = "The suite breaks its own rules"
CUT_SHORT = "The evaluation was cut short"
_FIXED = (TIME, MEMORY, OUTPUT, KILLED, UNLOADABLE, BROKEN, CUT_SHORT)
_OTHERWISE = "The evaluation failed; the suite's owner can find out why with `coalition-hub evaluate`."
_LONGEST = 500
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def told(failure: str, visibility: str) -> str:
    """The failure on one printable line; of a suite that not every member may read, one of a few fixed sentences.

    What a sandboxed process says of itself may hold the suite's text, on purpose or not.
    """
    if not failure:
        return ""
    if visibility == "members":
        return _UNPRINTABLE.sub(" ", failure)[:_LONGEST]
    return next((f"{words}." for words in _FIXED if failure.startswith(words)), _OTHERWISE)


def hopeless(why: str) -> bool:
    """Whether trying again would only spend the same once more."""
    return why.startswith(RESOURCE)
