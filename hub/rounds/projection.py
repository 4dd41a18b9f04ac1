"""Ledger entries about campaigns as rows. A round is done when its model is recorded."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session, select

from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.models import registry
from hub.rounds.heldout import held_out
from hub.rounds.promises import check_promise
from hub.rounds.standings import spec_of
from hub.rounds.tables import CampaignRow, ConsentRow, RoundRow, SiteRow
from hub.submissions import catalogue
from protos.documents.campaigns import Campaign, CampaignEnd, Consent, Hold
from protos.documents.methods import Rewards
from protos.documents.models import Model
from protos.documents.runs import Stop
from protos.documents.statements import Claimed
from trust.errors import Conflict, Denied, NotFound

PREFIX = "campaign-"


def register(journal: Journal) -> None:
    journal.register("campaign", project=_campaign, check=_check_campaign)
    journal.register("consent", project=_consent, check=_check_consent)
    journal.register("stop", project=_stop, check=_check_stop)
    journal.register("hold", project=_hold, check=_check_hold)
    journal.register("model", project=_model, check=_check_model)
    journal.register("campaign-end", project=_end, check=_check_end)


def existing(session: Session, campaign: str) -> CampaignRow:
    """Raises `NotFound`."""
    row = session.get(CampaignRow, campaign)
    if row is None:
        raise NotFound(f"There is no campaign {campaign[:80]!r}.", "See `coalition campaign list`.")
    return row


def _check_campaign(session: Session, claimed: Claimed) -> None:
    spec = cast(Campaign, claimed.claim).spec
    registry.get(session, spec.base_model)
    check_promise(spec)
    if spec.rewards is not None:
        _check_policies(session, spec.rewards)
    if spec.quality is not None:
        held_out(session, spec.quality)


def _check_policies(session: Session, rewards: Rewards) -> None:
    """That every policy that a campaign names stands in the ledger."""
    standing = {found.payload for found in catalogue.rewards(session) if found.stands}
    for digest in rewards.policies:
        if digest not in standing:
            raise NotFound(f"No reward policy that stands has the digest {digest}.", "See `coalition reward list`.")


def _campaign(session: Session, entry: Entry) -> None:
    claim = cast(Campaign, entry.claim)
    session.add(
        CampaignRow(
            id=entry.id,
            index=entry.index,
            payload=entry.payload,
            name=claim.spec.name,
            base_model=claim.spec.base_model,
            spec=claim.spec.model_dump(mode="json"),
            opened_by=claim.signer,
            opened_at=entry.time,
        )
    )


def _check_consent(session: Session, claimed: Claimed) -> None:
    claim = cast(Consent, claimed.claim)
    row = existing(session, claim.campaign)
    _check_open(row)
    experts = spec_of(row).experts
    if experts is not None and not experts.of(claim.signer):
        raise Denied(f"{row.id} names no expert of {claim.signer}'s own to train.", "Ask the core team for one.")
    site = session.get(SiteRow, claim.site_key)
    if site is None or site.member != claim.signer:
        raise Denied(
            "The consent names a site key that you have not registered.", "Run `coalition campaign join` again."
        )


def _consent(session: Session, entry: Entry) -> None:
    claim = cast(Consent, entry.claim)
    session.merge(ConsentRow(campaign=claim.campaign, member=claim.signer, site_key=claim.site_key, index=entry.index))


def _check_stop(session: Session, claimed: Claimed) -> None:
    target = cast(Stop, claimed.claim).target
    if target.startswith(PREFIX):
        _check_open(existing(session, target))


def _stop(session: Session, entry: Entry) -> None:
    claim = cast(Stop, entry.claim)
    if claim.target.startswith(PREFIX):
        row = existing(session, claim.target)
        row.stop = claim.why
        session.add(row)


def _check_hold(session: Session, claimed: Claimed) -> None:
    """That it says something new of the campaign as it stands: two who pause at once do not both."""
    claim = cast(Hold, claimed.claim)
    row = existing(session, claim.campaign)
    _check_open(row)
    if (claim.state == "paused") == bool(row.held):
        raise Conflict(f"{row.id} is {'paused already' if row.held else 'not paused'}.")
    if claim.turn != row.turns + 1:
        raise Conflict(f"{row.id} was paused or resumed meanwhile.", "Look at it again: coalition campaign show ID")


def _hold(session: Session, entry: Entry) -> None:
    claim = cast(Hold, entry.claim)
    row = existing(session, claim.campaign)
    row.turns, row.held = claim.turn, claim.why if claim.state == "paused" else ""
    session.add(row)


def _check_model(session: Session, claimed: Claimed) -> None:
    """That a round's model is the next one of its campaign."""
    claim = cast(Model, claimed.claim)
    if claim.origin != "round":
        return
    _check_open(existing(session, claim.source))
    if claim.round != done(session, claim.source) + 1:
        raise Conflict(f"Round {claim.round} of {claim.source} is not the next one.")


def _model(session: Session, entry: Entry) -> None:
    claim = cast(Model, entry.claim)
    if claim.origin == "round":
        session.add(
            RoundRow(
                campaign=claim.source,
                number=claim.round,
                model=claim.model,
                contributions=[part.model_dump(mode="json") for part in claim.contributions],
                recorded_at=entry.time,
            )
        )


def _check_end(session: Session, claimed: Claimed) -> None:
    _check_open(existing(session, cast(CampaignEnd, claimed.claim).campaign))


def _end(session: Session, entry: Entry) -> None:
    claim = cast(CampaignEnd, entry.claim)
    row = existing(session, claim.campaign)
    row.outcome, row.reason, row.ended_at = claim.outcome, claim.reason, entry.time
    session.add(row)


def done(session: Session, campaign: str) -> int:
    """How many rounds are done."""
    return len(session.exec(select(RoundRow.number).where(RoundRow.campaign == campaign)).all())


def _check_open(row: CampaignRow) -> None:
    if row.outcome:
        raise Conflict(f"{row.id} is {row.outcome} already.")
