"""A hub's services on real TLS listeners in a thread, for tests of what members run."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc

from contributors.client import Coalition
from contributors.home import Home
from hub.access import Access, Answers
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.ranking import Rankings
from hub.evaluation.service import EvaluationsService
from hub.ledger.service import BlobsService, LedgerService
from hub.listeners import OPTIONS
from hub.members import invitations
from hub.members.enrolment import EnrolmentService
from hub.members.roles import Roles
from hub.members.service import MembersService
from hub.models.releases import Releases
from hub.models.service import ModelsService, ReleasesService
from hub.rates import Rates
from hub.settings import Settings
from hub.submissions import catalogue
from hub.submissions.examination import Examination
from hub.submissions.intake import Intake
from hub.submissions.screening.screener import Screener
from hub.submissions.screening.worker import screen
from hub.submissions.service import SubmissionsService
from hub.witnesses.cosigning import Cosigning
from hub.witnesses.finality import Finality
from hub.witnesses.service import WitnessesService
from protos.coalition.v1 import (
    evaluation_pb2_grpc,
    ledger_pb2_grpc,
    members_pb2_grpc,
    models_pb2_grpc,
    submissions_pb2_grpc,
    witnesses_pb2_grpc,
)
from protos.documents.submissions import Dataset
from protos.transport.enrolment import enrol
from tests.hub.conftest import ORIGIN, Base, make_authorities
from trust.invitations import Invitation


class Hub:
    """`port` demands client certificates, `enrol_port` does not. `stop` and `start` are a restart at the same ports."""

    def __init__(self, base: Base, directory: Path) -> None:
        self.base, self._directory = base, directory
        self.authorities = make_authorities(base.directory)
        self.port = self.enrol_port = 0
        self.days = 7.0
        self.rates: Rates | None = None

    def start(self) -> None:
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        if left := asyncio.all_tasks(self._loop):  # uploads that were cut and close their files
            self._loop.run_until_complete(asyncio.wait(left, timeout=1))
        self._loop.close()  # with its sockets, and the threads that wait for work

    async def _serve(self) -> None:
        roles = Roles(self.base.database)
        self.base.journal.listen(roles.heard)
        access = Access(ORIGIN, roles, lambda: self.authorities.issuers, self.rates)
        main = grpc.aio.server(interceptors=[access], options=OPTIONS)
        self._cosigning = Cosigning(database=self.base.database, log=self.base.log, journal=self.base.journal)
        self._add_rooms(main)
        self.port = main.add_secure_port(f"127.0.0.1:{self.port}", self.authorities.credentials(mutual=True))
        door = grpc.aio.server(interceptors=[Answers()])
        service = EnrolmentService(
            self.base.database,
            self.base.journal,
            self.base.certification(self.authorities, self.days),
            self.base.log.vkey,
            self.base.hub_key.public.pem(),
        )
        members_pb2_grpc.add_EnrolmentServicer_to_server(service, door)
        self.enrol_port = door.add_secure_port(
            f"127.0.0.1:{self.enrol_port}", self.authorities.credentials(mutual=False)
        )
        await main.start()
        await door.start()
        cosigning = asyncio.create_task(self._cosigning.run())
        self._ready.set()
        await self._stop.wait()
        cosigning.cancel()
        await asyncio.gather(main.stop(0), door.stop(0))

    def _add_rooms(self, server: grpc.aio.Server) -> None:
        database, blobs, journal = self.base.database, self.base.blobs, self.base.journal
        tallies = (catalogue.tally,)
        members = MembersService(database, tallies, journal, self.base.certification(self.authorities, self.days))
        members_pb2_grpc.add_MembersServicer_to_server(members, server)
        ledger_pb2_grpc.add_LedgerServicer_to_server(LedgerService(database, self.base.log, journal), server)
        ledger_pb2_grpc.add_BlobsServicer_to_server(BlobsService(database, blobs), server)
        screener = Screener(self._directory / "screening", run=screen)
        intake = Intake(database, blobs, journal, Examination(database, blobs, screener))
        submissions_pb2_grpc.add_SubmissionsServicer_to_server(
            SubmissionsService(database, journal, intake, Finality(self.base.log)), server
        )
        witnesses_pb2_grpc.add_WitnessesServicer_to_server(
            WitnessesService(database=database, log=self.base.log, journal=journal, cosigning=self._cosigning), server
        )
        models_pb2_grpc.add_ModelsServicer_to_server(ModelsService(database=database, journal=journal), server)
        settings = Settings(name=ORIGIN, directory=self.base.directory)
        evaluator = Evaluator(settings=settings, database=database, blobs=blobs, journal=journal)
        evaluation_pb2_grpc.add_EvaluationsServicer_to_server(
            EvaluationsService(
                database=database,
                evaluator=evaluator,
                finality=Finality(self.base.log),
                rankings=Rankings(self.base.blobs),
            ),
            server,
        )
        releases = Releases(database=database, blobs=blobs, journal=journal, scores_of=lambda session, model: [])
        models_pb2_grpc.add_ReleasesServicer_to_server(
            ReleasesService(database=database, journal=journal, releases=releases), server
        )

    def invite(self, organisation: str, role: str = "contributor") -> str:
        token = Invitation.create(self.authorities.issuing.fingerprint, self.enrol_port)
        with self.base.database.session(writing=True) as session:
            invitations.invite_member(session, token, organisation, role, 1)
        return token.encode()

    def home(self, organisation: str, role: str = "contributor", directory: str = "") -> Home:
        """A new member's home, enrolled."""
        home = Home(self._directory / (directory or organisation.replace(" ", "-")))
        token = Invitation.decode(self.invite(organisation, role))
        home.save_enrolment(enrol("127.0.0.1", token, "member", home.artifact_key()), f"127.0.0.1:{self.port}")
        return home


def flip(path: Path, position: int) -> None:
    """Change one bit of one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def dataset(client: Coalition, packed: Any, **changes: object) -> Any:
    """A manifest of packed files."""
    values = {
        "hub": client.identity.hub,
        "signer": client.identity.id,
        "name": "contracts",
        "domain": "law",
        "licence": "CC-BY-4.0",
        "provenance": "written for a test",
        "rows": packed.rows,
        "files": [file.model_dump() for file in packed.files],
    }
    return Dataset.read({**values, **changes})
