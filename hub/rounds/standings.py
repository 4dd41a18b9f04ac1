"""What the tables say of campaigns, as the values that the state functions take."""

from __future__ import annotations

from sqlmodel import Session, col, func, select

from hub.rounds.states import Standing
from hub.rounds.tables import CampaignRow, ConsentRow, RoundRow
from protos.documents.campaigns import CampaignSpec


def spec_of(row: CampaignRow) -> CampaignSpec:
    return CampaignSpec.read(row.spec)


def standing(session: Session, row: CampaignRow) -> Standing:
    spec = spec_of(row)
    consents = select(func.count()).select_from(ConsentRow).where(ConsentRow.campaign == row.id)
    done = select(func.count()).select_from(RoundRow).where(RoundRow.campaign == row.id)
    return Standing(
        id=row.id,
        index=row.index,
        rounds=spec.rounds,
        done=session.exec(done).one(),
        minimum=spec.minimum_members,
        consents=session.exec(consents).one(),
        stop=row.stop,
        outcome=row.outcome,
        reason=row.reason,
    )


def open_standings(session: Session) -> list[Standing]:
    """Of the campaigns whose end is not recorded, oldest first."""
    rows = session.exec(select(CampaignRow).where(CampaignRow.outcome == "").order_by(col(CampaignRow.index)))
    return [standing(session, row) for row in rows]


def campaigns(session: Session) -> list[CampaignRow]:
    """All, oldest first."""
    return list(session.exec(select(CampaignRow).order_by(col(CampaignRow.index))))


def consents(session: Session, campaign: str) -> list[ConsentRow]:
    """In the order in which they were given."""
    query = select(ConsentRow).where(ConsentRow.campaign == campaign).order_by(col(ConsentRow.index))
    return list(session.exec(query))


def rounds(session: Session, campaign: str) -> list[RoundRow]:
    query = select(RoundRow).where(RoundRow.campaign == campaign).order_by(col(RoundRow.number))
    return list(session.exec(query))
