"""One question to many sites over Flower: each gets its message, also when it comes back; answers are taken as they arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import RecordDict

from hub.rounds import patience
from hub.rounds.exchange import DISOWNED, SiteOf
from hub.rounds.parts import Part, away, part_of
from hub.rounds.plan import Site
from hub.rounds.posting import TIME_TO_LIVE, Say, answers, look, pause, send
from trust.errors import Problem

Take = Callable[[str, RecordDict], None]
"""A member and its answer. Raises a Problem where it is of no use."""


class Asking:
    """Over one round's `grid`; a site whose consent counts no more is asked nothing further. `away` says since when sites are
    away, at the beginning as the round before left it."""

    def __init__(self, grid: Any, number: int, site_of: SiteOf, say: Say, away: Mapping[str, Part]) -> None:
        self._grid, self._number, self._site_of, self._say = grid, number, site_of, say
        self.away = away

    def ask(
        self, sites: Iterable[Site], content: Callable[[str], RecordDict], take: Take, needed: int, deadline: float
    ) -> Mapping[str, str]:
        """Ask each for as long as `patience` has it while `needed` answers are not there, and until the `deadline`.

        Why each that gave no answer of use is left out, by member.
        """
        parts = [part_of(site, self.away, self._number, 0) for site in sites]
        waiting = {part.site.member: part for part in parts}
        left_out: dict[str, str] = {}
        took: list[float] = []
        while waiting and len(waiting) + len(took) >= needed:
            look(self._grid, waiting.values())
            due = []
            for member, part in list(waiting.items()):
                seen = part.seen(deadline)
                move = patience.move(seen, took, needed)
                if self._site_of(member) is None or move == "leave out":
                    left_out[member] = patience.reason(seen) if self._site_of(member) else DISOWNED
                    del waiting[member]
                elif move == "send":
                    due.append(part)
            seconds = max(TIME_TO_LIVE, deadline - time.monotonic())
            send(self._grid, due, content, seconds, self._number, self._say)
            asked = time.monotonic()
            if not self._collect(waiting, take, took, left_out) and waiting:
                pause(asked)
        members = {part.site.member for part in parts}
        self.away = {name: part for name, part in self.away.items() if name not in members} | away(parts)
        return left_out | dict.fromkeys(waiting, "too few others answered")

    def _collect(self, waiting: dict[str, Part], take: Take, took: list[float], left_out: dict[str, str]) -> int:
        """Take in the answers that are there; how many."""
        count = 0
        for part, content in answers(self._grid, list(waiting.values())):
            count += 1
            if content is None:
                continue
            member = part.site.member
            del waiting[member]
            try:
                take(member, content)
                took.append(time.monotonic() - part.sent_at)
            except Problem as problem:
                left_out[member] = problem.what
        return count
