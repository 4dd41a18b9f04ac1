"""Puts the hub together and serves it: with its listeners, what knows every room."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from hub.blobs import BlobStore
from hub.callers import party
from hub.database import Database
from hub.disposal import Disposal
from hub.evaluation import projection as evaluation_projection
from hub.evaluation.evaluator import Evaluator
from hub.foundation import Foundation
from hub.holding import held
from hub.ledger import grants
from hub.ledger.election import Election
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.listeners import enrolment_server, main_server
from hub.members import projection as members_projection
from hub.members.directory import prove
from hub.members.roles import Roles
from hub.models import projection as models_projection
from hub.rounds import projection as rounds_projection
from hub.rounds.supervisor import Supervisor
from hub.scrub.pages import Project
from hub.scrub.scrubber import Scrubber
from hub.scrub.stages import Scrub
from hub.settings import Settings
from hub.sharing import share_fairly
from hub.submissions import drafts
from hub.submissions import projection as submissions_projection
from hub.submissions.examination import Examination
from hub.submissions.intake import Intake
from hub.submissions.policy import Policy
from hub.submissions.purges import Purger
from hub.submissions.quotas import Quota
from hub.submissions.screening.screener import Screener
from hub.submissions.stale import Sweeper
from hub.threads import Threads
from hub.training import leftovers
from hub.training import projection as training_projection
from hub.training.leftovers import Leftovers
from hub.training.scheduler import Scheduler
from hub.witnesses import projection as witnesses_projection
from hub.witnesses.cosigning import Cosigning
from hub.witnesses.finality import Finality
from trust.errors import Unavailable
from trust.keys import ArtifactKey

GRACE = 3.0
LOOK_AGAIN = 0.2
"""Seconds between two looks of a process that follows: at the ledger, and whether the lead is free."""
THREADS = 64
"""Calls that may wait for the disk at the same time; the ledger answers them in groups."""
EACH = 1
"""Of these, one party's: what one member asks for is done one after the other, and others wait for one piece of it at most."""

_log = logging.getLogger(__name__)


def register_projections(journal: Journal) -> None:
    """Every room's checks and projections, in the order of the rooms' arrows."""
    for room in (
        members_projection,
        witnesses_projection,
        submissions_projection,
        models_projection,
        training_projection,
        rounds_projection,
        evaluation_projection,
    ):
        room.register(journal)


def removers_of(base: Foundation, examination: Examination) -> tuple[Purger, Sweeper, Leftovers]:
    """What deletes blobs, each only what no room needs."""
    settings = base.settings
    disposal = Disposal(base.database, base.blobs, (grants.named, drafts.counts_on, leftovers.needs))
    purger = Purger(
        database=base.database,
        journal=base.journal,
        finality=Finality(base.log),
        disposal=disposal,
        examination=examination,
        grace=settings.purge_grace,
    )
    sweeper = Sweeper(base.database, base.blobs, disposal, settings.draft_days, examination.forget)
    return purger, sweeper, Leftovers(base.database, disposal, settings.draft_days)


def projecting(blobs: BlobStore, log: Log, key: ArtifactKey) -> Project:
    """What projects this ledger into another database, to compare the two."""

    def project(database: Database) -> Journal:
        journal = Journal(database, blobs, log, key, prove)
        register_projections(journal)
        return journal

    return project


@contextmanager
def at_rest(settings: Settings) -> Iterator[Foundation]:
    """The hub's stores, and its journal to record with, while no process serves it. Raises `Conflict` when one does."""
    with held(settings.directory):
        base = Foundation.open(settings)
        try:
            register_projections(base.journal)
            base.journal.start()
            yield base
        finally:
            base.journal.stop()
            base.database.close()
            base.blobs.close()


async def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises `Conflict` when another has the directory, `Unavailable` when the disk failed."""
    with held(settings.directory, together=settings.several):
        await _serve(settings)


async def _serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Threads(THREADS, EACH, party))
    share_fairly()
    base = await asyncio.to_thread(Foundation.open, settings, together=settings.several)
    failed = asyncio.Event()
    base.fuse.listen(lambda reason: _set(loop, failed))
    roles = Roles(base.database)
    base.journal.listen(roles.heard)
    register_projections(base.journal)
    if base.election is None:
        await asyncio.to_thread(base.journal.start)
    scheduler = Scheduler(
        database=base.database,
        blobs=base.blobs,
        journal=base.journal,
        progress=base.progress,
        patience=settings.lost_after,
        wait=settings.wait_for_nodes,
    )
    supervisor = Supervisor(
        settings=settings, database=base.database, blobs=base.blobs, journal=base.journal, progress=base.progress
    )
    evaluator = Evaluator(
        settings=settings,
        database=base.database,
        blobs=base.blobs,
        journal=base.journal,
        nodes=scheduler.lending if settings.nodes_evaluate else None,
    )
    screener = Screener(settings.screening_dir)
    examination = Examination(base.database, base.blobs, screener, settings.screening)
    quota = Quota(settings.quota_bytes, settings.quota_open)
    intake = Intake(base.database, base.blobs, base.journal, examination, Policy.of(settings), quota)
    removers = removers_of(base, examination)
    scrubber = _scrubber(base)
    cosigning = Cosigning(database=base.database, log=base.log, journal=base.journal)
    main = main_server(base, roles, intake, scheduler, supervisor, evaluator, cosigning)
    enrolment = enrolment_server(base)
    await main.start()
    await enrolment.start()
    _log.info("hub %s serves on %s:%d", settings.name, settings.bind, settings.port)
    try:
        resume = partial(asyncio.to_thread, intake.resume)
        loops: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            resume,
            scheduler.run,
            supervisor.run,
            evaluator.run,
            cosigning.run,
            *(remover.run for remover in removers),
            scrubber.run,
        ]
        await _until_stopped([_work(base, loops)], failed)
    finally:
        await asyncio.gather(main.stop(GRACE), enrolment.stop(GRACE))
        screener.stop()
        await asyncio.to_thread(base.journal.stop)
        base.database.close()
        base.blobs.close()
        if base.election:
            await asyncio.to_thread(base.election.resign)
    base.fuse.check()


def _scrubber(base: Foundation) -> Scrubber:
    settings = base.settings
    scrub = Scrub(settings, base.blobs, base.database, projecting(base.blobs, base.log, base.statement_key))
    return Scrubber(scrub, settings.scrub_file, settings.scrub_days, settings.scrub_rate)


async def _work(base: Foundation, loops: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
    """Run the loops: at once when alone, else from the day on that this process leads. Until then, follow."""
    if base.election is not None:
        while not await asyncio.to_thread(_stand, base.election):
            await asyncio.to_thread(base.journal.follow)
            await asyncio.sleep(LOOK_AGAIN)
        await asyncio.to_thread(base.journal.start)
    await asyncio.gather(*(loop() for loop in loops))


def _stand(election: Election) -> bool:
    """A database that is away is tried again: it is what the others wait for as well."""
    try:
        return election.stand()
    except Unavailable as problem:
        _log.warning("%s", problem)
        return False


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


async def _until_stopped(loops: Sequence[Any], failed: asyncio.Event) -> None:
    """Run the background loops until a signal comes or the disk failed. One that dies takes the hub with it.

    A supervisor (systemd, say) restarts the hub whole.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    tasks = [asyncio.create_task(coroutine) for coroutine in loops]
    waiting = [asyncio.create_task(event.wait()) for event in (stopped, failed)]
    done, _ = await asyncio.wait([*tasks, *waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in [*tasks, *waiting]:
        task.cancel()
    await asyncio.gather(*tasks, *waiting, return_exceptions=True)
    for task in done.difference(waiting):
        task.result()
