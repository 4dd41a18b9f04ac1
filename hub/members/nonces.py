"""Nonces: each proves that a signature was made now, for one attempt."""

from __future__ import annotations

import secrets
import threading
import time

from trust.errors import Denied
from trust.invitations import NONCE

SECONDS = 300.0


class Nonces:
    """One open nonce per invitation, so that their number is bounded by what the core team gave out."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def give(self, invitation: str) -> bytes:
        """A fresh one; an earlier one of this invitation counts no more."""
        nonce = secrets.token_bytes(NONCE)
        with self._lock:
            self._open[invitation] = nonce, time.monotonic() + SECONDS
        return nonce

    def take(self, invitation: str, nonce: bytes) -> None:
        """Use it up, right or wrong. Raises `Denied` for one that was not given, was used, or is too old."""
        with self._lock:
            given, until = self._open.pop(invitation, (b"", 0.0))
        if not given or not secrets.compare_digest(given, nonce) or time.monotonic() > until:
            raise Denied("The attempt to enrol was not begun here, or is too old.", "Enrol again.")
