"""The kinds of problem a user can meet, shared by every party so that a refusal means the same on both ends of a call."""

from __future__ import annotations


class Problem(Exception):
    """Something a person can act on.

    `what` says in one sentence what happened and where; `todo` says what to do about it.
    """

    reason = "PROBLEM"

    def __init__(self, what: str, todo: str = "", *, field: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo
        self.field = field

    def diagnostics(self) -> str:
        """One line for a terminal: the problem, then the remedy."""
        return f"{self.what} {self.todo}".strip()


class Invalid(Problem):
    """The input is malformed or breaks a rule of its schema."""

    reason = "INVALID"


class Denied(Problem):
    """The caller is known, and may not do this; or a signature does not hold."""

    reason = "DENIED"


class NotFound(Problem):
    """Nothing has that name or identifier."""

    reason = "NOT_FOUND"


class Conflict(Problem):
    """The request contradicts what already stands."""

    reason = "CONFLICT"


class Unavailable(Problem):
    """The other party cannot be reached or cannot serve now; trying again may help."""

    reason = "UNAVAILABLE"


class Corrupt(Problem):
    """Stored or received bytes do not match their digest, signature or proof."""

    reason = "CORRUPT"


class Exhausted(Unavailable):
    """The party asked too often; `retry_after` seconds later it may ask again."""

    reason = "EXHAUSTED"

    def __init__(self, what: str, todo: str = "", *, field: str = "", retry_after: float = 0.0) -> None:
        super().__init__(what, todo, field=field)
        self.retry_after = retry_after
