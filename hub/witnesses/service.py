"""gRPC: witnesses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from hub.callers import caller
from hub.database import Database
from hub.ledger import rows
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.witnesses import roll
from hub.witnesses.attached import AttachedWitness
from hub.witnesses.cosigning import Cosigning
from hub.witnesses.finality import Finality
from protos.coalition.v1 import common_pb2, witnesses_pb2, witnesses_pb2_grpc
from protos.documents import statements
from protos.documents.witnesses import EnrolledWitness, current, quorum
from trust.errors import Conflict, Denied, Invalid

MAX_ANSWER = 1 << 16


class WitnessesService(witnesses_pb2_grpc.WitnessesServicer):
    """Enrol, attach, set the policy; see where it stands."""

    def __init__(self, *, database: Database, log: Log, journal: Journal, cosigning: Cosigning) -> None:
        self._database, self._log, self._journal, self._cosigning = database, log, journal, cosigning

    async def EnrolWitness(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._record, request.envelope, "witness", caller().id)

    async def SetPolicy(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._record, request.envelope, "witness-policy", caller().id)

    async def Attach(
        self, request_iterator: AsyncIterator[witnesses_pb2.WitnessMessage], context: Any
    ) -> AsyncIterator[witnesses_pb2.AddCheckpointRequest]:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("kind") != "hello":
            raise Invalid("A witness says hello first.")
        enrolled = await asyncio.to_thread(self._enrolled, caller().id, first.hello)
        witness = AttachedWitness(enrolled.member, enrolled.key)
        await context.send_initial_metadata(())  # tells the witness that it is attached
        self._cosigning.attach(witness)
        listening = asyncio.create_task(_listen(witness, request_iterator))
        try:
            while (question := await witness.outgoing.get()) is not None:
                yield question
            if self._cosigning.attached.get(witness.member) not in (witness, None):
                raise Conflict(f"Another witness of {witness.member} attached in this one's place.", "Run only one.")
        finally:
            listening.cancel()
            self._cosigning.detach(witness)

    async def GetStanding(self, request: witnesses_pb2.GetStandingRequest, context: Any) -> witnesses_pb2.Standing:
        return await asyncio.to_thread(self._standing)

    def _record(self, envelope: bytes, kind: str, member: str) -> common_pb2.Recorded:
        found = statements.read(envelope).kind
        if found != kind:
            raise Invalid(f"A {found} statement came where a {kind} one belongs.")
        entry = self._journal.record(envelope, member)
        return common_pb2.Recorded(id=entry.id, receipt=self._journal.receipt(entry.index))

    def _enrolled(self, member: str, vkey: str) -> EnrolledWitness:
        with self._database.session() as session:
            for witness in current(roll.enrolled(session), rows.count(session)):
                if witness.member == member and witness.key.encode() == vkey:
                    return witness
        raise Denied(f"That is not the witness key that {member} enrolled.", "Run `coalition witness start`.")

    def _standing(self) -> witnesses_pb2.Standing:
        with self._database.session() as session:
            size, final = rows.count(session), Finality(self._log).size(session)
            enrolled, policies = roll.enrolled(session), roll.policies(session)
        needs = quorum(enrolled, policies, size)
        gathered = self._cosigning.gathered
        note = self._log.note()
        return witnesses_pb2.Standing(
            size=size,
            final=final,
            quorum=needs.needed,
            counted=len(needs.witnesses),
            newest=gathered.cosigned() if gathered and gathered.note == note else note,
            witnessed=self._log.witnessed() or b"",
            witnesses=[self._witness(each) for each in current(enrolled, size)],
            rule=needs.rule,
        )

    def _witness(self, enrolled: EnrolledWitness) -> witnesses_pb2.Witness:
        attached = self._cosigning.attached.get(enrolled.member)
        return witnesses_pb2.Witness(
            member=enrolled.member,
            vkey=enrolled.key.encode(),
            attached=attached is not None,
            counted=enrolled.counted,
            size=attached.size if attached else 0,
            time=_moment(attached.time) if attached and attached.time else "",
            trouble=attached.trouble if attached else "",
            enrolled_index=enrolled.index,
        )


async def _listen(witness: AttachedWitness, messages: AsyncIterator[witnesses_pb2.WitnessMessage]) -> None:
    try:
        async for message in messages:
            if message.WhichOneof("kind") == "answer" and len(message.answer.body) <= MAX_ANSWER:
                witness.hear(message.answer)
    finally:
        witness.leave()


def _moment(seconds: int) -> str:
    """RFC 3339; a witness's clock may say anything."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
