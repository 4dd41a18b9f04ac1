"""How the hub's processes log: one record, one line; nothing that others wrote can forge a line or drive a terminal.

Secrets never belong in a log. As a second line of defence, what looks like an invitation token, a private key or a bare secret
of 32 bytes is replaced before it is written.
"""

from __future__ import annotations

import logging
import re
import time

from rich.console import Console
from rich.logging import RichHandler

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SECRET = re.compile(
    r"(?i:coalition-[a-z2-7]{60,})"  # an invitation: people may write it in capitals
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|PRIVATE\+KEY\+\S+"  # log and witness keys (c2sp.org/signed-note)
    r"|(?<![:/0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z])",  # 32 bytes that are no digest: those say sha256
    re.DOTALL,
)
_REDACTED = "(redacted)"


def redacted(text: str) -> str:
    """The text without what looks like a secret."""
    return _SECRET.sub(_REDACTED, text)


def one_line(text: str) -> str:
    """Control and bidirectional characters shown as Python writes them, so that a record stays one line."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class _Formatter(logging.Formatter):
    """Times in UTC. Tracebacks keep their lines, each indented: only a record begins at the margin."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name is logging's)
        record.message = one_line(redacted(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802
        return _indented(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    """A secret may go over several lines: it is replaced before they are told apart."""
    return "\n".join(f"  {one_line(line)}" for line in redacted(text).splitlines())


def configure(console: Console) -> None:
    """Log to `console`: with colours at a terminal, elsewhere in plain lines of time, level, source and message."""
    if console.is_terminal:
        handler: logging.Handler = RichHandler(console=console, show_path=False)
        handler.setFormatter(_Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(
            _Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
