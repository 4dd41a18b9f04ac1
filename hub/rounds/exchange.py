"""One round over Flower: give every consenting site its task, take in each update as it arrives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from hub.rounds import patience, rewards
from hub.rounds.enclosing import File, enclosed
from hub.rounds.gathering import Gathering, Measure, own_start
from hub.rounds.parts import Part, Start, away, part_of
from hub.rounds.plan import Site
from hub.rounds.posting import TIME_TO_LIVE, Say, answers, look, pause, send
from hub.rounds.withholding import contribution, most_change
from learning.aggregation.guards import Asked, Offered, admitted
from learning.compression import expanding
from learning.shelf import IN_MEMORY, Shelf, map_tensors
from learning.updates import load_tensors
from protos.documents.models import Contribution
from protos.documents.rounds import Learned, RoundReply, RoundTask
from protos.transport.contents import DATA, Data, data_of, document_of, packed, sealed
from protos.transport.parcels import Mapped
from trust.canonical import parse
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, Problem, Unavailable
from trust.sentences import counted

DISOWNED = "Its member's consent does not count any more."
HEADROOM = 2  # an update may have this many times the reference's bytes
BESIDE = 64 << 20  # bytes of a reply that are no update, and of what names its parts

SiteOf = Callable[[str], Site | None]
"""A member's site as it stands at this moment: which datasets it may learn from; None when its consent counts no more."""


def most_of(reference: Mapping[str, Tensor]) -> int:
    """Bytes that a site's replies may have, where its updates are as large as `reference`."""
    return HEADROOM * size_of(reference) + BESIDE


def size_of(reference: Mapping[str, Tensor]) -> int:
    """Bytes of an update in fp32."""
    return 4 * sum(tensor.numel() for tensor in reference.values())


@dataclass(frozen=True)
class Averaged:
    """What a round came to. The contributions' weights sum to 1 over those that counted, less what lateness takes; `data` is what
    they learned from."""

    adapter: dict[str, Tensor]
    contributions: tuple[Contribution, ...]
    tokens: int
    data: tuple[Learned, ...]


class Round:
    """`grid` is Flower's; `files` maps names to bytes; `reference` is the adapter that every site starts from; `taken`
    are the digests of updates that the campaign has averaged; `afoot` are sites at work on rounds before (`Round.afoot`); an
    update moves no further than `furthest`, where that is told. What is as large as an update lies on the `shelf`."""

    def __init__(
        self,
        grid: Any,
        task: RoundTask,
        files: Mapping[str, File],
        reference: Mapping[str, Tensor],
        site_of: SiteOf,
        say: Say,
        taken: Collection[str] = (),
        measure: Measure | None = None,
        afoot: Mapping[str, Part] | None = None,
        furthest: float | None = None,
        shelf: Shelf = IN_MEMORY,
    ) -> None:
        self._grid, self._task, self._site_of, self._say = grid, task, site_of, say
        self._content, self._shelf = enclosed(task, files), shelf
        self._start = Start(task.round, task.digest, reference, furthest)
        self._buffer, self._before = task.spec.buffer, afoot or {}
        self._most_late = self._buffer.most_late if self._buffer else 0
        self._averaged_before = set(taken)
        update = size_of(reference)
        self._bound = HEADROOM * update + (1 << 20)
        self._size = update + sum(entry.size for entry in task.files)
        self._gathering = Gathering(task.spec, reference, measure, shelf)
        self._parts: dict[str, Part] = {}
        self._done: dict[str, Contribution] = {}
        self._took: list[float] = []
        self._deadline = math.inf
        self._taken: dict[str, RoundReply] = {}

    def run(self, sites: Iterable[Site]) -> Averaged:
        """Raises `Unavailable` when too few sites gave a valid update."""
        self._deadline = time.monotonic() + self._task.spec.patience.seconds
        self._parts = {site.member: part_of(site, self._before, self._task.round, self._most_late) for site in sites}
        waiting = self._waiting()
        look(self._grid, waiting)
        if absent := [member for member, part in self._parts.items() if not part.activation]:
            self._say(f"waits for {', '.join(absent)} to come online")
        while waiting:
            self._send([part for part in waiting if self._is_due(part)])
            asked = time.monotonic()
            if not self._collect():
                pause(asked)
            if waiting := self._waiting():
                look(self._grid, waiting)
        return self._averaged()

    @property
    def afoot(self) -> dict[str, Part]:
        """For the next round: since when sites are away, and with a buffer those that are at work still."""
        still = {name: part for name, part in self._parts.items() if part.message} if self._buffer else {}
        return away(self._parts.values()) | still

    def _waiting(self) -> list[Part]:
        """Whose updates are missing; nobody's once the buffer is full or its time is over."""
        full = self._buffer and len(self._gathering) >= self._buffer.updates
        if full or (self._buffer and time.monotonic() >= self._deadline):
            return []
        return [part for member, part in self._parts.items() if member not in self._done]

    def _averaged(self) -> Averaged:
        for member, part in self._parts.items():
            if member not in self._done:
                self._exclude(member, part.unfinished)
        if len(self._gathering) < self._gathering.needed:
            reasons = "; ".join(f"{member}: {_fate(part)}" for member, part in self._done.items())
            raise Unavailable(
                f"{counted(len(self._gathering), 'valid update')} came and the round needs {self._gathering.needed} ({reasons})."
            )
        gathered = self._gathering.result()
        for member, share in sorted(gathered.shares.items()):
            self._say(f"{member} weighs {share.weight:.1%}: {share.reason}")
            said = {"why": share.reason} if share.weight else {"excluded": share.reason}
            self._done[member] = self._done[member].model_copy(update={"weight": share.weight, **said})
        replies = [self._taken[member] for member, share in sorted(gathered.shares.items()) if share.weight]
        return Averaged(
            gathered.update,
            tuple(part for _, part in sorted(self._done.items())),
            sum(reply.tokens for reply in replies),
            tuple(learned for reply in replies for learned in reply.data),
        )

    def _is_due(self, part: Part) -> bool:
        """Whether a site is to get the task now; one that is not waited for any more is left out."""
        if self._site_of(part.site.member) is None:
            self._exclude(part.site.member, DISOWNED)
            return False
        seen = part.seen(self._deadline, self._buffer)
        move = patience.move(seen, self._took, self._gathering.needed)
        if move == "leave out":
            self._exclude(part.site.member, patience.reason(seen))
        return move == "send"

    def _send(self, parts: list[Part]) -> None:
        seconds = max(TIME_TO_LIVE, self._task.spec.patience.seconds) * (1 + self._most_late)
        send(self._grid, parts, lambda member: self._content, seconds, self._task.round, self._say)
        for part in parts:
            part.start, part.size = self._start, self._size

    def _collect(self) -> int:
        """Take in the answers that are there; how many."""
        count = 0
        for part, content in answers(self._grid, self._waiting()):
            count += 1
            if content is not None:
                self._take(part, content)
        return count

    def _take(self, part: Part, content: RecordDict) -> None:
        member, took = part.site.member, time.monotonic() - part.sent_at
        start = part.start or self._start
        start = replace(start, reference=own_start(self._task.spec, member, start.reference))
        late = self._task.round - start.round
        try:
            answer, update = self._read(member, content, start)
            offered = Offered(answer.round, answer.task or "", answer.update or "")
            asked = Asked(self._task.round, {start.round: start.task}, self._most_late)
            bounds = most_change(self._task.spec, start.reference, start.furthest)
            norm = admitted(update, start.reference, offered, asked, self._averaged_before, *bounds)
            standing = self._gathering.add(member, update, answer.examples, late, start.reference)
        except (Denied, Unavailable) as problem:  # no update came, so none was bad
            self._exclude(member, problem.what)
            return
        except Problem as problem:
            self._gathering.turn_away()
            self._exclude(member, problem.what)
            return
        self._averaged_before.add(offered.digest)
        self._took.append(took)
        self._taken[member] = answer
        part_in_it = contribution(self._task.spec, member, answer, norm, standing.quality)
        self._done[member] = part_in_it.model_copy(update={"late": late})
        behind = f", {counted(late, 'round')} late" if late else ""
        self._say(f"{member}: {rewards.course(part_in_it)}, in {took:.1f} s{behind}")

    def _read(self, member: str, content: RecordDict, start: Start) -> tuple[RoundReply, dict[str, Tensor]]:
        """A reply's document and tensors. Raises `Unavailable` where the site refused, `Invalid` for anything unasked for."""
        reply = read_reply(content)
        if reply.refusal:  # first: who cannot read the task, as of another version, does not know the campaign
            raise Unavailable(f"The site refused: {reply.refusal}")
        if reply.campaign != self._task.campaign:
            raise Invalid("The reply is about another campaign.")
        check_data(reply, self._site_of(member))
        rewards.check_told(reply, self._task.spec)
        data = data_of(content, "reply", self._bound)
        if reply.update != digest_bytes(data):
            raise Invalid("The update is not the one that the reply names.")
        return reply, self._tensors(data, start.reference)

    def _tensors(self, data: Data, reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The site's adapter, of what travelled and where it began. Raises `Invalid`."""
        how = self._task.spec.transfer.how
        sent = map_tensors(data.path) if isinstance(data, Mapped) else load_tensors(bytes(data))
        if how == "fp32":
            return sent
        change = expanding(sent, how, reference)
        return self._shelf.filled(reference, lambda name: reference[name] + change(name))

    def _exclude(self, member: str, why: str) -> None:
        self._done[member] = Contribution(
            member=member, examples=0, weight=0, loss_first=0, loss_last=0, update_norm=0, excluded=why[:500]
        )
        self._say(f"{member} is left out: {why}")


def _fate(part: Contribution) -> str:
    """What became of an update in a round that came to nothing."""
    return part.excluded or (f"valid, quality {part.quality:.4g}" if part.quality else "valid")


def check_data(reply: RoundReply, site: Site | None) -> None:
    """That the update learned from datasets of its member, of which this hub may learn now.

    Raises `Invalid`; `Denied` where its consent counts no more.
    """
    if site is None:
        raise Denied(DISOWNED)
    named = [learned.dataset for learned in reply.data]
    if not named or len(set(named)) != len(named):
        raise Invalid("The update does not say which datasets it learned from, each once.")
    if others := set(named) - set(site.datasets):
        raise Invalid(
            f"It learned from {min(others)}, which {site.member} does not have or this hub may not learn from."
        )
    if sum(learned.tokens for learned in reply.data) > reply.tokens:
        raise Invalid("It learned more tokens from its datasets than in all.")


def read_reply(content: RecordDict) -> RoundReply:
    """Raises `Invalid`."""
    return RoundReply.read(parse(document_of(content, "reply")))


def message_content(record: str, document: bytes, data: bytes) -> RecordDict:
    """Of a message to a site: see `protos.transport.contents`."""
    beside, apart = packed(document, data)
    arrays = {name: Array(dtype="uint8", shape=(len(part),), stype="bytes", data=part) for name, part in apart.items()}
    more = {DATA: ArrayRecord(arrays)} if arrays else {}
    return RecordDict({record: sealed(ConfigRecord(beside)), **more})
