"""Leads campaigns: one after the other, each by a server app of its own, which starts again from the last recorded round.

What there is to do follows from the tables alone, so a hub that was killed goes on where the ledger ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.progress.log import Progress
from hub.rounds import children, sites, standings, states
from hub.rounds.plan import Event, Plan, Site, read_event, write_document
from hub.rounds.projection import existing
from hub.rounds.recording import Recorder
from hub.rounds.states import Failures, Standing
from hub.rounds.superlink import STARTING, SuperLink
from hub.settings import Settings
from protos.documents.base import now
from protos.documents.campaigns import CampaignEnd, site_challenge
from protos.documents.placing import Place
from protos.documents.statements import HUB
from trust.digests import digest_bytes
from trust.errors import Invalid, Problem

KINDS = frozenset(
    {"campaign", "consent", "stop", "hold", "model", "campaign-end", "dataset", "withdrawal", "revocation"}
)
LOOK = 60.0  # seconds after which a campaign that waits for members may have waited long enough
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """What one server app came to: it ended well when there is no reason why not."""

    reason: str = ""


class Supervisor:
    """`run` lives as long as the hub. `leading` is the campaign that is being worked on."""

    def __init__(
        self, *, settings: Settings, database: Database, blobs: BlobStore, journal: Journal, progress: Progress
    ) -> None:
        self._settings, self._database, self._blobs = settings, database, blobs
        self._journal, self._progress = journal, progress
        self._place = Place("hub", settings.name, settings.country)
        self._recorder = Recorder(database, blobs, journal)
        self._superlink = SuperLink(settings)
        self._changed, self._revoked = asyncio.Event(), asyncio.Event()
        self.nonces = sites.Nonces()
        self._failures: dict[str, Failures] = {}
        self.leading = ""

    async def run(self) -> None:
        """Keep the SuperLink up and lead what is to be led; ends when cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._wake(loop, entry))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._superlink.run())
            group.create_task(self._lead())
            group.create_task(self._give_up_keys())

    async def register_site(self, member: str, line: bytes, nonce: bytes, proof: bytes) -> tuple[int, str, bytes]:
        """Make a member's SuperNode key known, which signed the nonce: (Flower's number, HOST:PORT, the authority's certificate).

        Raises `Invalid`, `Denied` for a key that is another member's or not held, `Unavailable`.
        """
        public_key = sites.read_public_key(line)
        self.nonces.check(member, nonce)
        challenge = site_challenge(self._journal.origin, member, nonce, digest_bytes(public_key))
        sites.check_possession(public_key, challenge, proof)
        await asyncio.to_thread(self._claim_key, member, public_key)
        node = await self._superlink.register(public_key)
        return node, self._superlink.address, self._superlink.authority

    async def _give_up_keys(self) -> None:
        """At the start and after every revocation: SuperNodes whose keys are disowned are shut out."""
        while True:
            self._revoked.clear()
            try:
                if keys := await asyncio.to_thread(self._given_up):
                    await self._superlink.forget(keys)
            except (Problem, OSError) as error:
                _log.warning("revoked sites are not shut out of the SuperLink yet: %s", error)
                await asyncio.sleep(states.LONGEST_PAUSE)
                continue
            await self._revoked.wait()

    def _given_up(self) -> list[bytes]:
        with self._database.session(writing=True) as session:
            return sites.give_up(session, self._blobs)

    def _claim_key(self, member: str, public_key: bytes) -> None:
        with self._database.session(writing=True) as session:
            sites.claim_key(session, member, public_key)

    def _wake(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if entry.kind in KINDS and not loop.is_closed():
            loop.call_soon_threadsafe(self._changed.set)
            if entry.kind == "revocation":
                loop.call_soon_threadsafe(self._revoked.set)

    # --- which campaign ----------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        while True:
            self._changed.clear()
            found = await asyncio.to_thread(self._standings)
            if any([await self._end(each) for each in found]):
                continue
            work = states.next_work(found)
            self.leading = work.id if work else ""
            if work is None:
                await self._wait_or_change(LOOK if found else math.inf)
            else:
                await self._try(work)

    def _standings(self) -> list[Standing]:
        with self._database.session() as session:
            return standings.open_standings(session, self._blobs)

    async def _end(self, campaign: Standing) -> bool:
        """Record that a campaign is over, if it is."""
        end = states.ending(campaign, self._failures.get(campaign.id, Failures()), now())
        if end is None:
            return False
        outcome, reason = end
        claim = CampaignEnd(
            hub=self._journal.origin, signer=HUB, campaign=campaign.id, outcome=outcome, reason=reason[:2000]
        )
        await asyncio.to_thread(self._journal.sign_and_record, claim)
        message = reason or f"all {campaign.rounds} rounds are done"
        await asyncio.to_thread(self._progress.append, campaign.id, outcome, message, (), True)
        await asyncio.to_thread(shutil.rmtree, self._directory(campaign.id), True)
        self._failures.pop(campaign.id, None)
        return True

    # --- one attempt -------------------------------------------------------------------------------------------------

    async def _try(self, campaign: Standing) -> None:
        before = self._failures.get(campaign.id, Failures())
        await self._wait_or_change(states.pause(before))
        try:
            attempt = await self._attempt(campaign.id)
        except Problem as problem:
            attempt = Attempt(problem.what)
        except OSError as error:
            attempt = Attempt(f"the hub's disk or network failed: {error}")
        if not attempt.reason:
            return
        after = states.failed(before, await self._next_round(campaign.id), attempt.reason)
        self._failures[campaign.id] = after
        _log.warning("%s, round %d, attempt %d: %s", campaign.id, after.round, after.count, attempt.reason)
        phase = f"round {after.round}"
        await asyncio.to_thread(self._progress.append, campaign.id, phase, f"interrupted: {attempt.reason}")

    async def _wait_or_change(self, seconds: float) -> None:
        if seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await self._changed.wait()

    async def _next_round(self, campaign: str) -> int:
        def number() -> int:
            with self._database.session() as session:
                return states.next_round(standings.standing(session, self._blobs, existing(session, campaign)))

        return await asyncio.to_thread(number)

    async def _attempt(self, campaign: str) -> Attempt:
        """Record what is finished, then lead the rest until the server app ends or has to be ended."""
        directory = self._directory(campaign)
        await self._record(campaign)
        if not await asyncio.to_thread(self._may_go_on, campaign):
            return Attempt()
        try:
            async with asyncio.timeout(STARTING):
                await self._superlink.ready()
        except TimeoutError:
            return Attempt("the SuperLink does not answer")
        first = await asyncio.to_thread(self._recorder.lay_out_parent, campaign, directory)
        await asyncio.to_thread(self._write_plan, campaign, first)
        child = await children.start(
            [sys.executable, "-m", "hub.rounds.serverapp", str(directory)],
            directory / "serverapp.log",
            children.environment(directory / "flwr"),
            speaks=True,
        )
        speaking = asyncio.create_task(self._follow(campaign, child))
        watching = asyncio.create_task(self._until_pointless(campaign, first))
        try:
            await asyncio.wait([speaking, watching], return_when=asyncio.FIRST_COMPLETED)
            return watching.result() if watching.done() else speaking.result()
        finally:
            watching.cancel()
            await children.stop(child)
            await asyncio.gather(speaking, watching, return_exceptions=True)
            await self._superlink.stop_runs()
            await self._record(campaign)

    async def _follow(self, campaign: str, child: asyncio.subprocess.Process) -> Attempt:
        """Pass on what the server app says and record the rounds it finishes, until it ends."""
        failure = ""
        assert child.stdout is not None  # noqa: S101 - it was started to speak
        while line := await child.stdout.readline():
            event = _event(line)
            failure = event.failure or failure
            if event.message:
                metrics = [(step, name, value) for step, name, value in event.metrics]
                await asyncio.to_thread(self._progress.append, campaign, event.phase, event.message, metrics)
            if event.metrics:
                await self._record(campaign)
        code = await child.wait()
        return Attempt(failure or f"the server app ended with code {code}") if code else Attempt()

    async def _until_pointless(self, campaign: str, first: int) -> Attempt:
        """Keep the plan's list of sites fresh; end when the campaign is stopped or paused, lost its members, or the
        SuperLink dies."""
        deaths = self._superlink.deaths
        while True:
            self._changed.clear()
            if not await asyncio.to_thread(self._may_go_on, campaign):
                return Attempt()
            await asyncio.to_thread(self._write_plan, campaign, first)
            waiting = [asyncio.create_task(self._changed.wait()), asyncio.create_task(self._superlink.death(deaths))]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            if self._superlink.deaths != deaths:
                return Attempt("the SuperLink died")

    async def _record(self, campaign: str) -> None:
        for model in await asyncio.to_thread(self._recorder.record_finished, campaign, self._directory(campaign)):
            message = f"recorded as {model.model}"
            await asyncio.to_thread(self._progress.append, campaign, f"round {model.round}", message)

    def _may_go_on(self, campaign: str) -> bool:
        with self._database.session() as session:
            return states.may_go_on(standings.standing(session, self._blobs, existing(session, campaign)))

    def _write_plan(self, campaign: str, first: int) -> None:
        with self._database.session() as session:
            row = existing(session, campaign)
            consents = standings.consents(session, self._blobs, row)
            learnable = standings.learnable(session, self._place)
            taken = standings.taken(session, campaign)
        plan = Plan(
            campaign=campaign,
            spec=standings.spec_of(row),
            first_round=first,
            sites=tuple(
                Site(member=each.member, key=each.site_key, datasets=tuple(learnable.get(each.member, ())))
                for each in consents
            ),
            superlink=self._superlink.address,
            authority=self._superlink.authority_file,
            secret=self._superlink.secret_file,
            taken=taken,
        )
        write_document(self._directory(campaign) / "plan.json", plan)

    def _directory(self, campaign: str) -> Path:
        return self._settings.campaigns_dir / campaign


def _event(line: bytes) -> Event:
    try:
        return read_event(line)
    except Invalid as problem:
        _log.warning("%s", problem.what)
        return Event(phase="")
