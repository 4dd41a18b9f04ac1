"""What processes write, for those who follow a run: a few lines at a time, and of what comes faster the newest."""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress
from pathlib import Path

from hub.logs import redacted

AT_ONCE = 2
"""Lines that are told at a look; each becomes an event at the hub."""
WAITING = 200
"""Lines that may wait for their turn."""
WINDOW = 1 << 16
"""Bytes that are read at a look: what is older is left out."""
LONGEST = 500
"""Characters of a line."""


class Output:
    """Of a growing file, which its writers may fill with anything: without what looks like a secret. The hub cleans what it
    is told (`messages.note_of`)."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0
        self._waiting: deque[str] = deque()

    def lines(self, *, ended: bool) -> list[str]:
        """The next ones that came since the last look; all that wait when the writers have ended."""
        data, left_out = b"", 0
        with suppress(OSError):
            data, left_out = self._read(ended)
        lines = [line for line in re.split(r"[\r\n]+", data.decode("utf-8", "replace")) if line.strip()]
        if left_out:
            self._waiting.append(f"({left_out:,} bytes are left out)")
        self._waiting.extend(redacted(line)[:LONGEST].rstrip() for line in lines)
        if (more := len(self._waiting) - WAITING) > 0:
            self._waiting = deque([f"({more:,} lines are left out)", *list(self._waiting)[more:]])
        return [
            self._waiting.popleft() for _ in range(len(self._waiting) if ended else min(AT_ONCE, len(self._waiting)))
        ]

    def _read(self, ended: bool) -> tuple[bytes, int]:
        """Up to the end of the last whole line, or the very end; and how many bytes were passed over."""
        with self._path.open("rb") as file:
            left_out = max(0, file.seek(0, 2) - WINDOW - self._position)
            self._position = file.seek(self._position + left_out)
            data = file.read(WINDOW)
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if ended or (not whole and len(data) == WINDOW):
            whole = len(data)
        self._position += whole
        return data[:whole], left_out
