"""gRPC: campaigns of federated rounds, and the sites that take part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, cast

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.callers import caller
from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.models import registry
from hub.progress.log import Progress
from hub.rounds import standings, states
from hub.rounds.projection import PREFIX, existing
from hub.rounds.promises import promise
from hub.rounds.routed import check_experts
from hub.rounds.supervisor import Supervisor
from hub.rounds.tables import CampaignRow, RoundRow
from protos.coalition.v1 import common_pb2, rounds_pb2, rounds_pb2_grpc
from protos.documents.base import Claim, now
from protos.documents.campaigns import Campaign, Consent, Hold
from protos.documents.models import Contribution
from protos.documents.runs import Stop
from protos.transport.version import installed
from trust.canonical import emit
from trust.errors import Invalid

TAIL = 2.0  # seconds to wait for the last event of a campaign that has ended, lest it was lost with the database


class CampaignsService(rounds_pb2_grpc.CampaignsServicer):
    """Open, list, show, watch, join, pause, resume, stop; register a site's key."""

    def __init__(
        self, *, database: Database, blobs: BlobStore, journal: Journal, progress: Progress, supervisor: Supervisor
    ) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._progress, self._supervisor = progress, supervisor

    async def OpenCampaign(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._open, request.envelope, caller().id)

    async def JoinCampaign(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._join, request.envelope, caller().id)

    async def StopCampaign(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._stop, request.envelope, caller().id)

    async def PauseCampaign(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._hold, request.envelope, caller().id, "paused")

    async def ResumeCampaign(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._hold, request.envelope, caller().id, "resumed")

    async def ListCampaigns(
        self, request: rounds_pb2.ListCampaignsRequest, context: Any
    ) -> rounds_pb2.ListCampaignsResponse:
        def rows() -> list[rounds_pb2.Campaign]:
            with self._database.session() as session:
                return [self._message(session, row) for row in standings.campaigns(session)]

        return rounds_pb2.ListCampaignsResponse(campaigns=await asyncio.to_thread(rows))

    async def GetCampaign(self, request: common_pb2.ById, context: Any) -> rounds_pb2.Campaign:
        return await asyncio.to_thread(self._show, request.id)

    async def WatchCampaign(
        self, request: common_pb2.WatchRequest, context: Any
    ) -> AsyncIterator[common_pb2.ProgressEvent]:
        found = await asyncio.to_thread(self._show, request.id)
        events = aiter(self._progress.watch(request.id, request.after))
        while True:
            try:
                async with asyncio.timeout(TAIL if found.ended_at else None):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                yield common_pb2.ProgressEvent(
                    time=found.ended_at, phase=found.state, message=found.reason, terminal=True
                )
                return
            yield event

    async def BeginSite(self, request: rounds_pb2.BeginSiteRequest, context: Any) -> rounds_pb2.BeginSiteResponse:
        return rounds_pb2.BeginSiteResponse(nonce=self._supervisor.nonces.give(caller().id))

    async def RegisterSite(
        self, request: rounds_pb2.RegisterSiteRequest, context: Any
    ) -> rounds_pb2.RegisterSiteResponse:
        node, superlink, authority = await self._supervisor.register_site(
            caller().id, request.public_key, request.nonce, request.proof
        )
        return rounds_pb2.RegisterSiteResponse(
            superlink=superlink, authority=authority, node=node, time=now(), version=installed()
        )

    def _open(self, envelope: bytes, member: str) -> common_pb2.Recorded:
        claim = self._journal.read(envelope, member).claim
        if isinstance(claim, Campaign) and claim.spec.experts is not None:
            with self._database.session() as session:
                base = registry.get(session, claim.spec.base_model)
                check_experts(claim.spec.experts, base.id, registry.files(base), self._blobs)
        entry = self._record(envelope, member, Campaign)
        self._progress.append(entry.id, "waiting", f"opened by {member}")
        return self._answer(entry)

    def _join(self, envelope: bytes, member: str) -> common_pb2.Recorded:
        entry = self._record(envelope, member, Consent)
        self._progress.append(cast(Consent, entry.claim).campaign, "waiting", f"{member} takes part")
        return self._answer(entry)

    def _stop(self, envelope: bytes, member: str) -> common_pb2.Recorded:
        claim = self._journal.read(envelope, member).claim
        if isinstance(claim, Stop) and not claim.target.startswith(PREFIX):
            raise Invalid(f"{claim.target} is not a campaign.", field="target")
        return self._answer(self._record(envelope, member, Stop))

    def _hold(self, envelope: bytes, member: str, state: str) -> common_pb2.Recorded:
        claim = self._journal.read(envelope, member).claim
        if isinstance(claim, Hold) and claim.state != state:
            raise Invalid(f"The statement says that the campaign is {claim.state}.", field="state")
        entry = self._record(envelope, member, Hold)
        held = cast(Hold, entry.claim)
        self._progress.append(held.campaign, held.state, f"by {member}: {held.why}")
        return self._answer(entry)

    def _answer(self, entry: Entry) -> common_pb2.Recorded:
        return common_pb2.Recorded(id=entry.id, receipt=self._journal.receipt(entry.index))

    def _record(self, envelope: bytes, member: str, kind: type[Claim]) -> Entry:
        if not isinstance(self._journal.read(envelope, member).claim, kind):
            raise Invalid(f"This call takes a signed {kind.__name__.lower()}.")
        return self._journal.record(envelope, member)

    def _show(self, campaign: str) -> rounds_pb2.Campaign:
        """Raises `NotFound`."""
        with self._database.session() as session:
            row = existing(session, campaign)
            message = self._message(session, row)
            message.guarantee = promise(standings.spec_of(row))
            message.spent.extend(rounds_pb2.PrivacySpent(**asdict(each)) for each in standings.spending(session, row))
            return message

    def _message(self, session: Session, row: CampaignRow) -> rounds_pb2.Campaign:
        standing = standings.standing(session, self._blobs, row)
        state, reason = states.state_of(standing, self._supervisor.leading)
        return rounds_pb2.Campaign(
            id=row.id,
            name=row.name,
            state=state,
            reason=reason,
            base_model=row.base_model,
            rounds_planned=standing.rounds,
            rounds=[_round(each) for each in standings.rounds(session, row.id)],
            members=[consent.member for consent in standings.consents(session, self._blobs, row)],
            opened_at=row.opened_at,
            ended_at=row.ended_at,
            opened_by=row.opened_by,
            minimum_members=standing.minimum,
            spec=emit(row.spec).decode(),
            turns=row.turns,
        )


def _round(row: RoundRow) -> rounds_pb2.Round:
    return rounds_pb2.Round(
        number=row.number,
        model=row.model,
        participants=[_participation(Contribution.read(part)) for part in row.contributions],
        recorded_at=row.recorded_at,
    )


def _participation(part: Contribution) -> rounds_pb2.Participation:
    return rounds_pb2.Participation(**part.model_dump())
