"""Where each member's site stands in a round, and what it is at work on: with a buffer, that may be an earlier round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hub.rounds.patience import SLOWEST, Waiting
from hub.rounds.plan import Site
from protos.documents.methods import Buffer
from trust.digests import Digest


@dataclass(frozen=True)
class Start:
    """What a round's updates start from: the digest of its task, and the tensors; and how far one may move (`most_change`)."""

    round: int
    task: Digest
    reference: Mapping[str, Tensor]
    furthest: float | None = None


@dataclass
class Part:
    """One member's; times are of the monotonic clock. See `patience.Waiting`. `start` is of the task that its site was sent last,
    `message` what its answer will answer; empty while none is awaited. Both together have `size` bytes, about."""

    site: Site
    node: int = 0
    activation: str = ""
    sent_to: str = ""
    sendings: int = 0
    failed: bool = False
    message: str = ""
    start: Start | None = None
    sent_at: float = 0.0
    size: int = 0
    last_seen: float = field(default_factory=time.monotonic)

    def seen(self, deadline: float, buffer: Buffer | None = None) -> Waiting:
        """As of now. No site is silent too long whose late update counts too."""
        now = time.monotonic()
        silent = max(0.0, now - self.sent_at - self.size / SLOWEST) if self.sent_at and buffer is None else 0.0
        away, late = now - self.last_seen, now >= deadline
        return Waiting(self.activation, self.sent_to, self.sendings, away, silent, failed=self.failed, late=late)

    @property
    def unfinished(self) -> str:
        """Why it has no update in a round that ended without it."""
        if self.message and self.start is not None:
            return f"its site is at work on round {self.start.round} still; its update counts when it comes"
        return "its site was away when enough updates had come"


def part_of(site: Site, before: Mapping[str, Part], number: int, most_late: int) -> Part:
    """The part of a site in round `number`: a new one, unless it is at work on a round that is not too long ago, or was away at
    the end of the round before and may be so still."""
    part = before.get(site.member)
    if part is None or part.site.key != site.key:
        return Part(site)
    if part.start is None:
        return Part(site, last_seen=part.last_seen)
    if number - part.start.round > most_late:
        return Part(site)
    part.site = site
    return part


def away(parts: Iterable[Part]) -> dict[str, Part]:
    """Sites that were away when they were last looked at, for the next round: with nothing but since when they are."""
    return {part.site.member: Part(part.site, last_seen=part.last_seen) for part in parts if not part.activation}
