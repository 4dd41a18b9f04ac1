"""Puts the hub together and serves it: the one module that knows every room."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hub.access import ALLOWED, Access, Answers, party
from hub.authorities import Authorities
from hub.blobs import BlobStore
from hub.database import Database
from hub.disposal import Disposal
from hub.evaluation import projection as evaluation_projection
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.leaderboard import scores_of
from hub.evaluation.service import EvaluationsService
from hub.forwarding import Dial, Forwarding, dial_enrolment, dial_main
from hub.fuse import Fuse
from hub.holding import held
from hub.ledger import grants
from hub.ledger.election import Candidate, Election
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.ledger.service import BlobsService, LedgerService
from hub.members import projection as members_projection
from hub.members.certification import Certification
from hub.members.directory import prove
from hub.members.enrolment import EnrolmentService
from hub.members.roles import Roles
from hub.members.service import MembersService
from hub.models import projection as models_projection
from hub.models import registry
from hub.models.releases import Releases
from hub.models.service import ModelsService, ReleasesService
from hub.object_blobs import open_blobs
from hub.progress.log import Progress
from hub.rates import Limit, Rates
from hub.rounds import projection as rounds_projection
from hub.rounds.service import CampaignsService
from hub.rounds.supervisor import Supervisor
from hub.scrub.pages import Project
from hub.scrub.scrubber import Scrubber
from hub.scrub.stages import Scrub
from hub.settings import Settings
from hub.sharing import share_fairly
from hub.submissions import catalogue, drafts
from hub.submissions import projection as submissions_projection
from hub.submissions.examination import Examination
from hub.submissions.intake import Intake
from hub.submissions.policy import Policy
from hub.submissions.purges import Purger
from hub.submissions.quotas import Quota
from hub.submissions.screening.screener import Screener
from hub.submissions.service import SubmissionsService
from hub.submissions.stale import Sweeper
from hub.threads import Threads
from hub.training import leftovers
from hub.training import projection as training_projection
from hub.training.leftovers import Leftovers
from hub.training.scheduler import Scheduler
from hub.training.service import NodesService, TrainingService
from hub.witnesses import projection as witnesses_projection
from hub.witnesses.cosigning import Cosigning
from hub.witnesses.finality import Finality
from hub.witnesses.service import WitnessesService
from protos.coalition.v1 import (
    evaluation_pb2_grpc,
    ledger_pb2_grpc,
    members_pb2_grpc,
    models_pb2_grpc,
    rounds_pb2_grpc,
    submissions_pb2_grpc,
    training_pb2_grpc,
    witnesses_pb2_grpc,
)
from trust.errors import Unavailable
from trust.keys import ArtifactKey, LogKey

GRACE = 3.0
LOOK_AGAIN = 0.2
"""Seconds between two looks of a process that follows: at the ledger, and whether the lead is free."""
BURST = 10.0
"""Seconds' worth of calls that a member may make at once."""
THREADS = 64
"""Calls that may wait for the disk at the same time; the ledger answers them in groups."""
EACH = 2
"""Of these, one party's: more would not be faster on the interpreter that all share, and others would wait longer."""

_log = logging.getLogger(__name__)
OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", 8 << 20),  # counted after decompression
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.absolute_max_metadata_size", 32 << 10),
    ("grpc.max_concurrent_streams", 200),  # of one connection
    ("grpc.max_send_message_length", 32 << 20),
    ("grpc.http2.bdp_probe", 0),  # which would let each connection fill megabytes of the hub's memory
    ("grpc.http2.lookahead_bytes", 128 << 10),  # of each call, also of uploads that wait for a lane
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_connection_age_ms", 3_600_000),  # calls that go on end first: the client connects anew for the next
    ("grpc.so_reuseport", 0),  # a second hub on the same port must fail, not share it
)


@dataclass(frozen=True)
class Foundation:
    """What every room stands on, opened once from a hub's directory."""

    settings: Settings
    fuse: Fuse
    database: Database
    blobs: BlobStore
    log: Log
    journal: Journal
    progress: Progress
    authorities: Authorities
    statement_key: ArtifactKey
    election: Election | None

    @classmethod
    def open(cls, settings: Settings, *, together: bool = False, to_look: bool = False) -> Foundation:
        """Migrate the database and open the stores; nothing runs yet. `together` with other processes: as a candidate.
        Only `to_look`, also beside a hub that runs: nothing is migrated, and what is under way is left alone."""
        fuse = Fuse()
        election = _candidate(settings, fuse) if together else None
        database = Database(election.url if election else settings.database_url, fuse)
        if not to_look:
            database.migrate()
        blobs = open_blobs(settings.blobs, settings.blobs_dir, fuse, settings.seal_key)
        confirm = election.check if election else lambda: None
        log = Log(settings.ledger_dir, LogKey.load(settings.log_key), fuse, confirm)
        if election is None and not to_look:
            blobs.sweep()
            log.sweep()
        key = ArtifactKey.load(settings.statement_key)
        journal = Journal(database, blobs, log, key, prove, election)
        authorities = Authorities(settings)
        return cls(settings, fuse, database, blobs, log, journal, Progress(database), authorities, key, election)


def _candidate(settings: Settings, fuse: Fuse) -> Election:
    name = f"coalition-hub-{secrets.token_hex(8)}"
    return Election(settings.database_url, Candidate(name, settings.address, settings.enrolment_address), fuse)


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
    scheduler = Scheduler(database=base.database, blobs=base.blobs, journal=base.journal, progress=base.progress)
    supervisor = Supervisor(
        settings=settings, database=base.database, blobs=base.blobs, journal=base.journal, progress=base.progress
    )
    evaluator = Evaluator(settings=settings, database=base.database, blobs=base.blobs, journal=base.journal)
    screener = Screener(settings.screening_dir)
    examination = Examination(base.database, base.blobs, screener, settings.screening)
    quota = Quota(settings.quota_bytes, settings.quota_open)
    intake = Intake(base.database, base.blobs, base.journal, examination, Policy.of(settings), quota)
    removers = removers_of(base, examination)
    scrubber = _scrubber(base)
    cosigning = Cosigning(database=base.database, log=base.log, journal=base.journal)
    main = _main_server(base, roles, intake, scheduler, supervisor, evaluator, cosigning)
    enrolment = _enrolment_server(base)
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


def _main_server(
    base: Foundation,
    roles: Roles,
    intake: Intake,
    scheduler: Scheduler,
    supervisor: Supervisor,
    evaluator: Evaluator,
    cosigning: Cosigning,
) -> grpc.aio.Server:
    access = Access(base.settings.name, roles, lambda: base.authorities.issuers, _rates(base.settings))
    interceptors = [*_forwarding(base, dial_main), access]
    server = grpc.aio.server(interceptors=interceptors, options=OPTIONS)
    _add_rooms(server, base, intake, scheduler, supervisor, evaluator, cosigning)
    names = [f"coalition.v1.{service}" for service in ALLOWED]
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    for name in ["", *names]:
        checks._server_status[name] = health_pb2.HealthCheckResponse.SERVING
    _listen(server, base.settings.bind, base.settings.port, base.authorities.credentials(mutual=True))
    return server


def _rates(settings: Settings) -> Rates:
    return Rates(Limit(settings.calls_per_second, BURST * settings.calls_per_second))


def _add_rooms(
    server: grpc.aio.Server,
    base: Foundation,
    intake: Intake,
    scheduler: Scheduler,
    supervisor: Supervisor,
    evaluator: Evaluator,
    cosigning: Cosigning,
) -> None:
    database, blobs, journal, progress = base.database, base.blobs, base.journal, base.progress
    finality = Finality(base.log)
    tallies = (catalogue.tally, registry.tally)
    members = MembersService(database, tallies, journal, _certification(base))
    members_pb2_grpc.add_MembersServicer_to_server(members, server)
    ledger_pb2_grpc.add_LedgerServicer_to_server(LedgerService(database, base.log, journal), server)
    ledger_pb2_grpc.add_BlobsServicer_to_server(BlobsService(database, blobs), server)
    witnesses_pb2_grpc.add_WitnessesServicer_to_server(
        WitnessesService(database=database, log=base.log, journal=journal, cosigning=cosigning), server
    )
    submissions_pb2_grpc.add_SubmissionsServicer_to_server(
        SubmissionsService(database, journal, intake, finality), server
    )
    training_pb2_grpc.add_TrainingServicer_to_server(
        TrainingService(database=database, journal=journal, progress=progress, scheduler=scheduler), server
    )
    training_pb2_grpc.add_NodesServicer_to_server(NodesService(database=database, scheduler=scheduler), server)
    rounds_pb2_grpc.add_CampaignsServicer_to_server(
        CampaignsService(database=database, blobs=blobs, journal=journal, progress=progress, supervisor=supervisor),
        server,
    )
    models_pb2_grpc.add_ModelsServicer_to_server(ModelsService(database=database, journal=journal), server)
    releases = Releases(
        database=database,
        blobs=blobs,
        journal=journal,
        scores_of=lambda session, model: scores_of(session, model, finality.size(session)),
    )
    models_pb2_grpc.add_ReleasesServicer_to_server(
        ReleasesService(database=database, journal=journal, releases=releases), server
    )
    evaluation_pb2_grpc.add_EvaluationsServicer_to_server(
        EvaluationsService(database=database, evaluator=evaluator, finality=finality), server
    )


def _enrolment_server(base: Foundation) -> grpc.aio.Server:
    """TLS without client certificates, for the one service that strangers may call."""
    server = grpc.aio.server(interceptors=[*_forwarding(base, dial_enrolment), Answers()], options=OPTIONS)
    service = EnrolmentService(
        base.database, base.journal, _certification(base), base.log.vkey, base.statement_key.public.pem()
    )
    members_pb2_grpc.add_EnrolmentServicer_to_server(service, server)
    _listen(server, base.settings.bind, base.settings.enrol_port, base.authorities.credentials(mutual=False))
    return server


def _forwarding(base: Foundation, dial: Callable[[Authorities, str], Dial]) -> list[grpc.aio.ServerInterceptor]:
    """For one of several processes: what carries calls to the leader."""
    if base.election is None:
        return []
    return [Forwarding(base.election, dial(base.authorities, base.settings.host), base.journal.follow)]


def _certification(base: Foundation) -> Certification:
    return Certification(base.database, base.authorities, base.statement_key, base.settings.certificate_days)


def _listen(server: grpc.aio.Server, bind: str, port: int, credentials: grpc.ServerCredentials) -> None:
    try:
        server.add_secure_port(f"{bind}:{port}", credentials)
    except RuntimeError:
        raise Unavailable(f"Port {port} of {bind} is taken.", "Stop what uses it, or change hub.toml.") from None
