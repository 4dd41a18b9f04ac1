"""A round over Flower whose updates are summed under masks: keys, shares, masked updates, signatures, opening.

A site that drops out before its masked update is not in the sum, one that drops out behind it is; whichever, as many as the
threshold open the masks, or the round comes to nothing and begins anew with fresh keys. The mathematics are in `unmasking`.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from torch import Tensor

from hub.rounds import rewards
from hub.rounds.asking import Asking, Take
from hub.rounds.enclosing import File, enclosed
from hub.rounds.exchange import Averaged, SiteOf, check_data, read_reply
from hub.rounds.parts import Part
from hub.rounds.plan import Site
from hub.rounds.posting import Say
from hub.rounds.unmasking import Unmasking
from hub.rounds.withholding import contribution
from learning.aggregation.robust import clipped
from learning.privacy.noise import most_noise
from learning.privacy.ring import Ring, Words, size_of
from protos.documents.base import Document, Identifier
from protos.documents.masking import (
    Asked,
    AskKeys,
    AskMasked,
    AskOpening,
    AskShares,
    AskSurvivors,
    Box,
    GiveKeys,
    Given,
    GiveOpening,
    GiveShares,
    GiveSurvivors,
    OneTimeKeys,
    Opened,
    Refuse,
    Seat,
    Session,
    SignedSurvivors,
)
from protos.documents.models import Contribution
from protos.documents.rounds import RoundReply, RoundTask
from protos.transport.contents import data_of
from trust.canonical import emit, parse
from trust.digests import digest_bytes
from trust.errors import Invalid, Unavailable
from trust.files import write_atomic
from trust.sentences import counted

RECORD = "masking"
AGAIN = 3
OPENING = 120.0
"""Seconds that signatures and openings have at the least: nothing is trained for them."""


class Begun(Document):
    """Who was in the list that sites were last asked to sign in a round: they take part in another sum of it with nobody else.
    `again` counts the sums that were begun with them since."""

    round: int
    survivors: tuple[Identifier, ...]
    again: int = 0


class MaskedRound:
    """As `exchange.Round`, for a campaign with [masks]. `memory` is a file of the campaign's that outlives this process."""

    def __init__(
        self,
        grid: Any,
        task: RoundTask,
        files: Mapping[str, File],
        reference: Mapping[str, Tensor],
        site_of: SiteOf,
        say: Say,
        memory: Path,
        afoot: Mapping[str, Part] | None = None,
    ) -> None:
        if task.spec.masks is None:
            raise Invalid("The campaign has no [masks].")
        self._masks, self._task, self._reference, self._memory = task.spec.masks, task, reference, memory
        self._site_of, self._say = site_of, say
        self._asking = Asking(grid, task.round, site_of, say, afoot or {})
        self._given = enclosed(task, files)
        self._gone: dict[str, str] = {}
        self._replies: dict[str, RoundReply] = {}

    def run(self, sites: Iterable[Site]) -> Averaged:
        """Raises `Unavailable` when too few sites went through the stages."""
        deadline = time.monotonic() + self._task.spec.patience.seconds
        seated = self._seated({site.member: site for site in sites})
        self._session = Session(
            campaign=self._task.campaign,
            round=self._task.round,
            task=self._task.digest,
            nonce=secrets.token_hex(32),
            seats=tuple(Seat(member=name, site_key=site.key) for name, site in sorted(seated.items())),
        )
        self._threshold = self._masks.threshold(len(seated))
        self._needed = max(self._threshold, min(self._task.spec.patience.minimum_updates, len(seated)))
        keys = self._keys(seated, deadline)
        boxes, seeds = self._shares({name: seated[name] for name in keys}, keys, deadline)
        sharing = {name: keys[name] for name in seeds}
        sums = Unmasking(self._session, self._threshold, sharing, seeds, size_of(self._reference))
        self._updates({name: seated[name] for name in seeds}, boxes, sums, deadline)
        opened = self._open({name: seated[name] for name in sums.survivors}, sums.survivors, deadline)
        return self._averaged(sums.result(opened), sums.survivors)

    @property
    def afoot(self) -> Mapping[str, Part]:
        """As `exchange.Round.afoot`."""
        return self._asking.away

    def _seated(self, sites: dict[str, Site]) -> dict[str, Site]:
        """Everybody, or those of a sum of this round that was begun; not for ever, for one of them may have left for good."""
        with suppress(FileNotFoundError, ValueError, Invalid):
            begun = Begun.read(json.loads(self._memory.read_bytes()))
            if begun.round == self._task.round and begun.again < AGAIN and set(begun.survivors) <= set(sites):
                self._remember(begun.survivors, begun.again + 1)
                self._say(f"begins its sum anew, of {', '.join(begun.survivors)}")
                return {name: sites[name] for name in begun.survivors}
        if len(sites) < self._masks.least_members:
            raise Unavailable(f"Only {counted(len(sites), 'member')} could be in the sum under masks.")
        return sites

    def _remember(self, survivors: tuple[str, ...], again: int) -> None:
        begun = Begun(round=self._task.round, survivors=survivors, again=again)
        write_atomic(self._memory, begun.model_dump_json().encode())

    # --- the stages --------------------------------------------------------------------------------------------------

    def _keys(self, sites: Mapping[str, Site], deadline: float) -> dict[str, OneTimeKeys]:
        keys: dict[str, OneTimeKeys] = {}

        def take(member: str, content: RecordDict) -> None:
            give = self._read(content)
            if not isinstance(give, GiveKeys) or give.keys.member != member:
                raise Invalid("The site gave no one-time keys of its own.")
            keys[member] = give.keys

        self._stage("keys", sites, lambda member: AskKeys(), take, keys, deadline)
        return keys

    def _shares(
        self, sites: Mapping[str, Site], keys: Mapping[str, OneTimeKeys], deadline: float
    ) -> tuple[list[Box], dict[str, str]]:
        """The boxes of all, and the digests of their seeds."""
        boxes: list[Box] = []
        seeds: dict[str, str] = {}
        ask = AskShares(keys=tuple(keys.values()))

        def take(member: str, content: RecordDict) -> None:
            give = self._read(content)
            if not isinstance(give, GiveShares) or any(box.sender != member for box in give.boxes):
                raise Invalid("The site gave no shares of its own.")
            if sorted(box.to for box in give.boxes) != sorted(keys.keys() - {member}):
                raise Invalid("The site gave no share for each of the others.")
            boxes.extend(give.boxes)
            seeds[member] = give.seed

        self._stage("shares", sites, lambda member: ask, take, seeds, deadline)
        return boxes, seeds

    def _updates(self, sites: Mapping[str, Site], boxes: list[Box], sums: Unmasking, deadline: float) -> None:
        """Add the masked updates up as they come."""
        bound = 4 * size_of(self._reference)

        def ask(member: str) -> AskMasked:
            return AskMasked(boxes=tuple(box for box in boxes if box.to == member and box.sender in sites))

        def take(member: str, content: RecordDict) -> None:
            began = time.monotonic()
            reply = self._reply(member, content)
            data = data_of(content, "reply", bound)
            if reply.update != digest_bytes(data) or len(data) != bound:
                raise Invalid("The masked update is not the one that the reply names.")
            sums.add(member, np.frombuffer(data, "<u4").astype(np.uint32, copy=False))
            self._replies[member] = reply
            self._say(f"{member}: its masked update is in the sum, in {time.monotonic() - began:.1f} s")

        self._stage("masked update", sites, ask, take, self._replies, deadline, self._given)

    def _open(
        self, sites: Mapping[str, Site], survivors: tuple[str, ...], deadline: float
    ) -> dict[str, tuple[Opened, ...]]:
        """What each opened, once enough had signed who is in the sum."""
        self._remember(survivors, 0)
        signed: dict[str, SignedSurvivors] = {}
        opened: dict[str, tuple[Opened, ...]] = {}

        def sign(member: str, content: RecordDict) -> None:
            give = self._read(content)
            if not isinstance(give, GiveSurvivors) or give.signed.member != member:
                raise Invalid("The site signed no list.")
            signed[member] = give.signed

        def take(member: str, content: RecordDict) -> None:
            give = self._read(content)
            if not isinstance(give, GiveOpening):
                raise Invalid("The site opened no shares.")
            opened[member] = give.opened

        listed = AskSurvivors(survivors=survivors)
        soon = max(deadline, time.monotonic() + OPENING)
        self._stage("list", sites, lambda member: listed, sign, signed, soon, needed=self._threshold)
        ask = AskOpening(signatures=tuple(signed.values()))
        who = {name: sites[name] for name in signed}
        soon = max(deadline, time.monotonic() + OPENING)
        self._stage("opening", who, lambda member: ask, take, opened, soon, needed=self._threshold)
        return opened

    def _stage(
        self,
        name: str,
        sites: Mapping[str, Site],
        ask: Any,
        take: Take,
        came: Mapping[str, object],
        deadline: float,
        beside: Mapping[str, Any] | None = None,
        needed: int = 0,
    ) -> None:
        """Ask all of these, and go on with those that answered. Raises `Unavailable` where they are too few."""

        def content(member: str) -> RecordDict:
            asked = Asked(session=self._session, ask=ask(member))
            step = ConfigRecord({"document": emit(asked.model_dump(mode="json"))})
            return RecordDict({RECORD: step, **(beside or {})})

        needed = needed or self._needed
        for member, why in self._asking.ask(sites.values(), content, take, needed, deadline).items():
            self._gone[member] = f"it dropped out before its {name}: {why}"[:500]
            self._say(f"{member}: {self._gone[member]}")
        if len(came) < needed:
            reasons = "; ".join(f"{member}: {why}" for member, why in sorted(self._gone.items()))
            raise Unavailable(
                f"{counted(len(came), 'site')} gave a {name} and the sum under masks needs {needed} ({reasons})."
            )

    # --- answers -----------------------------------------------------------------------------------------------------

    def _read(self, content: RecordDict) -> GiveKeys | GiveShares | GiveSurvivors | GiveOpening:
        """Raises `Unavailable` where the site refused, `Invalid` for what is no answer in this sum."""
        record = content.get(RECORD)
        document = record.get("document") if isinstance(record, ConfigRecord) else None
        if not isinstance(document, bytes):
            raise Invalid("The answer holds no step of the sum.")
        given = Given.read(parse(document))
        if isinstance(given.give, Refuse):
            raise Unavailable(f"The site refused: {given.give.why}")
        if given.session != self._session.id.decode():
            raise Invalid("The answer is of another sum.")
        return given.give

    def _reply(self, member: str, content: RecordDict) -> RoundReply:
        """A masked update's document, or the refusal in its place; raises as `_read`."""
        if RECORD in content:
            self._read(content)
            raise Invalid("The site gave no masked update.")
        reply = read_reply(content)
        if reply.refusal:
            raise Unavailable(f"The site refused: {reply.refusal}")
        if (reply.campaign, reply.round, reply.task) != (self._task.campaign, self._task.round, self._task.digest):
            raise Invalid("The reply is about another task.")
        check_data(reply, self._site_of(member))
        rewards.check_told(reply, self._task.spec)
        return reply

    # --- the end -----------------------------------------------------------------------------------------------------

    def _averaged(self, total: Words, survivors: tuple[str, ...]) -> Averaged:
        spec = self._task.spec
        change = Ring(spec.largest_value, len(self._session.seats)).mean(total, len(survivors), self._reference)
        moved = {name: start.double() + change[name] for name, start in self._reference.items()}
        mean, _ = clipped(moved, self._reference, self._furthest())
        self._say(f"{counted(len(survivors), 'masked update')} summed; the hub saw no single one")
        why = f"one of {len(survivors)} summed under masks"
        replies = [self._replies[member] for member in survivors]
        return Averaged(
            {name: tensor.float() for name, tensor in sorted(mean.items())},
            tuple(
                self._contribution(each, each in survivors, why, 1 / len(survivors)) for each in self._session.members
            ),
            sum(reply.tokens for reply in replies),
            tuple(learned for reply in replies for learned in reply.data),
        )

    def _furthest(self) -> float:
        """No mean of honest updates is further from the reference: what dishonest ones add goes no further either."""
        privacy = self._task.spec.privacy
        if privacy is None:
            return self._task.spec.clip_norm or math.inf
        return privacy.clip + most_noise(size_of(self._reference), privacy.clip * privacy.noise)

    def _contribution(self, member: str, counted_in: bool, why: str, weight: float) -> Contribution:
        if not counted_in:
            excluded = self._gone.get(member, "it dropped out")
            return Contribution(
                member=member, examples=0, weight=0, loss_first=0, loss_last=0, update_norm=0, excluded=excluded
            )
        part = contribution(self._task.spec, member, self._replies[member], 0.0)
        later = f"; {self._gone[member]}" if member in self._gone else ""
        return part.model_copy(update={"weight": weight, "why": f"{why}{later}"[:200]})
