"""One question to many sites over Flower: each gets its message, also when it comes back; answers are taken as they arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Message, MessageType, RecordDict

from hub.rounds import patience
from hub.rounds.exchange import DISOWNED, POLL, TIME_TO_LIVE, Say, SiteOf
from hub.rounds.parts import Part
from hub.rounds.plan import Site
from trust.digests import Digest, digest_bytes
from trust.errors import Problem, Unavailable

Take = Callable[[str, RecordDict], None]
"""A member and its answer. Raises a Problem where it is of no use."""


class Asking:
    """Over one round's `grid`; a site whose consent counts no more is asked nothing further."""

    def __init__(self, grid: Any, number: int, site_of: SiteOf, say: Say) -> None:
        self._grid, self._number, self._site_of, self._say = grid, number, site_of, say

    def ask(
        self, sites: Iterable[Site], content: Callable[[str], RecordDict], take: Take, needed: int, deadline: float
    ) -> Mapping[str, str]:
        """Ask each for as long as `patience` has it while `needed` answers are not there, and until the `deadline`.

        Why each that gave no answer of use is left out, by member.
        """
        waiting = {site.member: Part(site) for site in sites}
        left_out: dict[str, str] = {}
        took: list[float] = []
        while waiting and len(waiting) + len(took) >= needed:
            self._look(waiting.values())
            due = []
            for member, part in list(waiting.items()):
                seen = part.seen(deadline)
                move = patience.move(seen, took, needed)
                if self._site_of(member) is None or move == "leave out":
                    left_out[member] = patience.reason(seen) if self._site_of(member) else DISOWNED
                    del waiting[member]
                elif move == "send":
                    due.append(part)
            self._send(due, content, deadline)
            asked = time.monotonic()
            if not self._collect(waiting, take, took, left_out):
                time.sleep(max(0.0, asked + POLL - time.monotonic()) if waiting else 0.0)
        return left_out | dict.fromkeys(waiting, "too few others answered")

    def _look(self, parts: Iterable[Part]) -> None:
        online = {digest_bytes(node.public_key): node for node in self._grid.get_nodes()}
        for part in parts:
            node = online.get(Digest(part.site.key))
            part.activation = node.last_activated_at if node else ""
            if node:
                part.node, part.last_seen = int(node.node_id), time.monotonic()

    def _send(self, parts: list[Part], content: Callable[[str], RecordDict], deadline: float) -> None:
        """All at once: what their messages have in common is hashed and travels to the SuperLink once."""
        if not parts:
            return
        messages = [
            Message(
                content(part.site.member),
                dst_node_id=part.node,
                message_type=MessageType.TRAIN,
                ttl=max(TIME_TO_LIVE, deadline - time.monotonic()),
                group_id=str(self._number),
            )
            for part in parts
        ]
        for part, identifier in zip(parts, self._grid.push_messages(messages), strict=True):
            if not identifier:
                raise Unavailable(f"The SuperLink took no message for {part.site.member}.")
            if part.sendings:
                self._say(f"{part.site.member}'s site is back and is asked again")
            part.message, part.sent_to, part.sendings = identifier, part.activation, part.sendings + 1
            part.sent_at, part.failed = time.monotonic(), False

    def _collect(self, waiting: dict[str, Part], take: Take, took: list[float], left_out: dict[str, str]) -> int:
        """Take in the answers that are there; how many."""
        asked = {part.message: part for part in waiting.values() if part.message}
        replies = 0
        for reply in self._grid.pull_messages(list(asked)) if asked else ():
            replies += 1
            part = asked.get(reply.metadata.reply_to_message_id)
            if part is None:
                continue
            part.message = ""
            if reply.has_error():  # of Flower's making: the SuperNode is away, or the message was lost
                part.failed = True
                continue
            member = part.site.member
            del waiting[member]
            try:
                take(member, reply.content)
                took.append(time.monotonic() - part.sent_at)
            except Problem as problem:
                left_out[member] = problem.what
        return replies
