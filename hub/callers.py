"""Who makes the present call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Role = Literal["core", "contributor", "viewer", "node"]


@dataclass(frozen=True)
class Presented:
    """What the verified certificate shows: a party (`delegate` names a delegation), the key's keyid, when it was issued."""

    kind: Literal["member", "node", "delegate"]
    name: str
    keyid: str
    issued: dt.datetime


@dataclass(frozen=True)
class Caller:
    """The party at the other end of the call; `kinds` are a delegate's, who calls in the member's name."""

    kind: Literal["member", "node"]
    id: str
    role: Role
    kinds: frozenset[str] | None = None
    certificate: Presented | None = None

    @property
    def delegation(self) -> str:
        """That a delegate calls under; empty for others."""
        return self.certificate.name if self.certificate and self.certificate.kind == "delegate" else ""

    @property
    def reads_sealed(self) -> bool:
        """Whether the party itself calls, or a delegate that may read what the member keeps sealed."""
        return self.kinds is None or "sealed" in self.kinds


RoleOf = Callable[[Presented], Caller]
"""From the members room. Raises `Denied` for a party that is not, or no longer, enrolled."""

calling: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """The party that makes the present call."""
    return calling.get()


def party() -> str | None:
    """Whom the present work is for; `None` outside of calls."""
    who = calling.get(None)
    return f"{who.kind} {who.id}" if who else None
