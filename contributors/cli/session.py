"""Whose command this is. What a connection needs is imported here, on first use, so that `--help` answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contributors.client import Coalition
    from contributors.home import Home


def our_home() -> Home:
    """The home of COALITION_HOME."""
    from contributors.home import Home

    return Home.default()


def connected() -> Coalition:
    """The hub that our home is enrolled at; a context manager. Raises `NotFound` before enrolment."""
    from contributors.client import Coalition

    return Coalition(our_home())
