"""What the tables say of campaigns, as the values that the state functions take."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from sqlmodel import Session, col, func, select

from hub.blobs import BlobStore
from hub.members.belief import Belief
from hub.rounds import promises
from hub.rounds.promises import Spent, Told
from hub.rounds.states import Standing
from hub.rounds.tables import CampaignRow, ConsentRow, RoundRow
from hub.submissions import catalogue
from protos.documents.base import moment, rfc3339
from protos.documents.campaigns import CampaignSpec
from protos.documents.models import Contribution
from protos.documents.placing import Place, may_learn

LOOK_BACK = 100
"""Rounds among which a replayed update is looked for."""


def spec_of(row: CampaignRow) -> CampaignSpec:
    return CampaignSpec.read(row.spec)


def standing(session: Session, blobs: BlobStore, row: CampaignRow) -> Standing:
    spec = spec_of(row)
    done = select(func.count()).select_from(RoundRow).where(RoundRow.campaign == row.id)
    return Standing(
        id=row.id,
        index=row.index,
        rounds=spec.rounds,
        done=session.exec(done).one(),
        minimum=spec.minimum_members,
        consents=len(consents(session, blobs, row)),
        stop=row.stop,
        held=row.held,
        join_by=rfc3339(moment(row.opened_at) + timedelta(days=spec.patience.days_to_join)),
        outcome=row.outcome,
        reason=row.reason,
    )


def open_standings(session: Session, blobs: BlobStore) -> list[Standing]:
    """Of the campaigns whose end is not recorded, oldest first."""
    rows = session.exec(select(CampaignRow).where(CampaignRow.outcome == "").order_by(col(CampaignRow.index)))
    return [standing(session, blobs, row) for row in rows]


def campaigns(session: Session) -> list[CampaignRow]:
    """All, oldest first."""
    return list(session.exec(select(CampaignRow).order_by(col(CampaignRow.index))))


def consents(session: Session, blobs: BlobStore, campaign: CampaignRow) -> list[ConsentRow]:
    """In the order in which they were given. While the campaign goes on, without those that their members disowned."""
    query = select(ConsentRow).where(ConsentRow.campaign == campaign.id).order_by(col(ConsentRow.index))
    given = list(session.exec(query))
    belief = Belief(session, blobs)
    return given if campaign.outcome else [row for row in given if counts(belief, row)]


def counts(belief: Belief, consent: ConsentRow) -> bool:
    """Whether a consent is its member's will: the key that signed it was its own, and it is a member."""
    return not belief.standing(consent.member).revoked and belief.holds(consent.member, consent.index)


def learnable(session: Session, hub: Place) -> dict[str, list[str]]:
    """By member, the datasets that stand and that sites may learn from for this hub."""
    found: dict[str, list[str]] = defaultdict(list)
    for dataset in catalogue.datasets(session):
        if dataset.stands and may_learn(dataset.terms, hub) is None:
            found[dataset.member].append(dataset.id)
    return found


def taken(session: Session, campaign: str) -> tuple[str, ...]:
    """The digests of the updates that its newest rounds averaged."""
    newest = rounds(session, campaign)[-LOOK_BACK:]
    parts = (Contribution.read(part) for row in newest for part in row.contributions)
    return tuple(sorted({part.update for part in parts if part.update}))


def spending(session: Session, campaign: CampaignRow) -> tuple[Spent, ...]:
    """What the rounds so far cost each member; nothing where the campaign guarantees nothing."""
    privacy = spec_of(campaign).privacy
    if privacy is None:
        return ()
    known: list[Told] = []
    for row in campaigns(session):
        spec = spec_of(row)
        for done in rounds(session, row.id):
            known += promises.told(row.id, spec, (Contribution.read(part) for part in done.contributions))
    return promises.spent(campaign.id, privacy, known)


def rounds(session: Session, campaign: str) -> list[RoundRow]:
    query = select(RoundRow).where(RoundRow.campaign == campaign).order_by(col(RoundRow.number))
    return list(session.exec(query))
