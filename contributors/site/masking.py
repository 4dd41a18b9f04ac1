"""A site's answers in rounds that are summed under masks: one sum at a time, each message answered once.

A message that comes again, as after a lost answer, gets the same answer again; another one for a step that was taken gets none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from contributors.site.datasets import read_declarations
from contributors.site.keys import site_key
from contributors.site.peers import check_seats
from contributors.site.policy import read_agreements
from contributors.site.seat import Seat
from contributors.site.sums import check_another, note_signed, read_sums
from contributors.site.training import Trained
from learning.aggregation.robust import clipped
from learning.privacy.ring import Ring
from protos.documents.campaigns import CampaignSpec
from protos.documents.masking import (
    Asked,
    AskKeys,
    AskMasked,
    AskOpening,
    AskShares,
    AskSurvivors,
    GiveKeys,
    Given,
    GiveOpening,
    GiveShares,
    GiveSurvivors,
    Masks,
    Refuse,
    Session,
)
from protos.documents.rounds import RoundTask
from trust.canonical import emit, parse
from trust.digests import Digest, digest_bytes
from trust.errors import Denied, Invalid, Problem

RECORD = "masking"
_log = logging.getLogger(__name__)

Pack = Callable[[RoundTask, Trained], bytes]
"""What of a round's training travels."""
Train = Callable[[Pack], RecordDict]
"""Do the round's task that came with the message, and answer with what is packed; or with a refusal."""


class Masking:
    """Of one site, for as long as its training process lives: with it all secrets of a sum are gone, and others open them."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._seat: Seat | None = None
        self._last: tuple[Digest, RecordDict] | None = None

    def answer(self, content: RecordDict, train: Train) -> RecordDict:
        """Never raises: what goes wrong becomes a refusal."""
        record = content[RECORD]
        document = record.get("document") if isinstance(record, ConfigRecord) else None
        session = "sha256:" + "0" * 64
        try:
            if not isinstance(document, bytes):
                raise Invalid("The message holds no step of a sum.")
            asked = Asked.read(parse(document))
            session = asked.session.id.decode()
            digest = digest_bytes(document)
            if self._last is None or self._last[0] != digest:
                self._last = (digest, self._step(asked, train))
            return self._last[1]
        except Problem as problem:
            return _said(Given(session=session, give=Refuse(why=problem.what[:500])))
        except Exception as error:
            _log.exception("a step of a sum failed")
            why = f"the site met an error of its own ({type(error).__name__}); its log says more"
            return _said(Given(session=session, give=Refuse(why=why)))

    def _step(self, asked: Asked, train: Train) -> RecordDict:
        session, ask = asked.session, asked.ask
        if isinstance(ask, AskKeys):
            self._seat = self._sit(session)
            return _said(Given(session=session.id.decode(), give=GiveKeys(keys=self._seat.keys())))
        seat = self._seat
        if seat is None or seat.session != session:
            raise Denied("This site has no part in that sum: it began anew since, or the sum did.")
        give: GiveShares | GiveSurvivors | GiveOpening
        match ask:
            case AskMasked():
                seat.take(ask.boxes)
                return train(lambda task, trained: _masked(seat, task, trained))
            case AskShares():
                give = seat.shares(ask.keys)
            case AskSurvivors():
                signed = seat.sign(ask.survivors, lambda names: note_signed(self._home, session, names))
                give = GiveSurvivors(signed=signed)
            case AskOpening():
                give = GiveOpening(opened=seat.open(ask.signatures))
        return _said(Given(session=session.id.decode(), give=give))

    def _sit(self, session: Session) -> Seat:
        """A place in a sum that our campaign allows, of members that the ledger names. Secrets of another sum are forgotten."""
        self._seat = None
        spec, masks = self._agreed(session)
        before = read_sums(self._home).of(session.campaign)
        check_another(before, session)
        again = before is not None and before.round == session.round
        if len(session.seats) < spec.minimum_members and not again:
            raise Denied(f"A sum of {len(session.seats)} members is smaller than {session.campaign} promised.")
        member, key = read_declarations(self._home).member, site_key(self._home)
        if not any((seat.member, seat.site_key) == (member, key.digest) for seat in session.seats):
            raise Denied("The sum has no seat for this site's key.")
        check_seats(self._home, session.campaign, session.seats)
        return Seat(session, masks, member, key)

    def _agreed(self, session: Session) -> tuple[CampaignSpec, Masks]:
        """What we consented to."""
        known = read_agreements(self._home).campaigns
        agreed = next((each for each in known if each.campaign == session.campaign and not each.ended), None)
        if agreed is None:
            raise Denied(f"This site has not joined {session.campaign}, or it is over.")
        if agreed.spec.masks is None or session.round > agreed.spec.rounds:
            raise Denied(f"{session.campaign} has no sum of round {session.round} under masks.")
        return agreed.spec, agreed.spec.masks


def _masked(seat: Seat, task: RoundTask, trained: Trained) -> bytes:
    """The update as little-endian words under our masks. Raises `Denied` for another task than the sum's."""
    session = seat.session
    if (task.campaign, task.round, task.digest) != (session.campaign, session.round, session.task):
        raise Denied("The task is not the one that the sum is of.")
    update = trained.adapter
    if task.spec.clip_norm is not None:
        update, _ = clipped(update, trained.start, task.spec.clip_norm)
    words = Ring(task.spec.largest_value, len(session.seats)).encode(update, trained.start)
    seat.mask(words)
    return words.astype("<u4", copy=False).tobytes()


def _said(given: Given) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"document": emit(given.model_dump(mode="json"))})})
