"""What every party's command line says alike: a failure as one sentence with an exit code, a number with its noun."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from trust.errors import Problem

_REMEDIES = {
    errno.ENOSPC: "Make room on the disk, then do it again.",
    errno.EDQUOT: "Make room in your quota, then do it again.",
    errno.EROFS: "The disk can only be read: choose another place.",
    errno.EACCES: "Check whose it is, and its permissions.",
    errno.EPERM: "Check whose it is, and its permissions.",
}


def counted(count: int, one: str, many: str = "") -> str:
    """`1 entry`, `2 entries`; without `many` the plural has an s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def run_command(
    command: Callable[[], object],
    tell: Callable[[str], None],
    *,
    install: str,
    explain: Callable[[Exception], str | None] = lambda error: None,
) -> None:
    """Run a command line to its end: exit code 1 and one sentence to `tell` for what a user can mend, 130 after Ctrl-C.

    `install` says how to get a package that is missing; `explain` puts failures that only the caller knows into words, and
    answers None for the others: those are our mistakes and keep their traceback.
    """
    try:
        try:
            command()
        finally:
            _flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `... | head`: nobody reads on
        _silence()
        sys.exit(1)
    except Exception as error:
        sentence = _sentence(error, install) or explain(error)
        if sentence is None:
            raise
        tell(sentence)
        sys.exit(1)


def _sentence(error: Exception, install: str) -> str | None:
    if isinstance(error, Problem):
        return error.diagnostics()
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed. {install}"
    if isinstance(error, OSError):
        what = f"{error.filename or 'The system'}: {error.strerror or str(error) or type(error).__name__}."
        return f"{what} {_REMEDIES.get(error.errno or 0, '')}".strip()
    return None


def _flush() -> None:
    """What was printed is out, or an error of this command: at the interpreter's exit it would be a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        _silence()
        raise


def _silence() -> None:
    """The interpreter's last flush goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
