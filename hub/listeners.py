"""What the hub listens on: the rooms' services for who is enrolled, and enrolment for strangers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hub.access import Access, Answers
from hub.authorities import Authorities
from hub.calls import ALLOWED
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.leaderboard import scores_of
from hub.evaluation.ranking import Rankings
from hub.evaluation.service import EvaluationsService
from hub.forwarding import Dial, Forwarding, dial_enrolment, dial_main
from hub.foundation import Foundation
from hub.ledger.service import BlobsService, LedgerService
from hub.members.certification import Certification
from hub.members.enrolment import EnrolmentService
from hub.members.roles import Roles
from hub.members.service import MembersService
from hub.models import registry
from hub.models.releases import Releases
from hub.models.service import ModelsService, ReleasesService
from hub.rates import Limit, Rates
from hub.rounds.service import CampaignsService
from hub.rounds.supervisor import Supervisor
from hub.settings import Settings
from hub.submissions import catalogue
from hub.submissions.intake import Intake
from hub.submissions.service import SubmissionsService
from hub.training.scheduler import Scheduler
from hub.training.service import NodesService, TrainingService
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

BURST = 10.0
"""Seconds' worth of calls that a member may make at once."""
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


def main_server(
    base: Foundation,
    roles: Roles,
    intake: Intake,
    scheduler: Scheduler,
    supervisor: Supervisor,
    evaluator: Evaluator,
    cosigning: Cosigning,
) -> grpc.aio.Server:
    """Mutual TLS: every room's services, health and reflection. Raises `Unavailable` when the port is taken."""
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
        EvaluationsService(database=database, evaluator=evaluator, finality=finality, rankings=Rankings(blobs)), server
    )


def enrolment_server(base: Foundation) -> grpc.aio.Server:
    """TLS without client certificates, for the one service that strangers may call. Raises as `main_server`."""
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
