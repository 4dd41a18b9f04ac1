"""The witness dials out to its hub, for members sit behind firewalls: it attaches, is asked, and comes back by itself."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import grpc

from contributors.client import Coalition
from contributors.home import Home, Identity
from contributors.witness.cosigner import Cosigner, Event, Tell
from contributors.witness.standing import enrol_witness, standing
from protos.coalition.v1 import witnesses_pb2, witnesses_pb2_grpc
from protos.documents.witnesses import Witness
from protos.transport.errors import from_rpc_error
from trust.errors import Conflict, Denied, Problem
from trust.merkle import GetNode
from trust.tiles import TileReader

PAUSES = (0.5, 1.0, 2.0, 5.0)  # seconds before the next attempt; the last one stays
STOP_SECONDS = 5.0


class Attachment:
    """Keeps a cosigner attached to the hub of its home, until stopped."""

    def __init__(self, home: Home, cosigner: Cosigner, tell: Tell) -> None:
        self._home, self._cosigner, self._tell = home, cosigner, tell
        self._stopped = threading.Event()
        self._call: Any = None
        self._trouble = ""

    def run(self) -> None:
        """Until `stop`. What goes wrong is told once, and tried again: a witness is nobody's to restart by hand."""
        failures = 0
        while not self._stopped.is_set():
            try:
                with Coalition(self._home) as hub:
                    enrolled(hub, self._cosigner, self._tell)
                    self._converse(hub)
                failures = 0
            except Problem as problem:
                failures = 0 if self._trouble == "" else failures + 1
                if problem.what != self._trouble and not self._stopped.is_set():
                    self._tell(Event("away", message=problem.diagnostics()))
                self._trouble = problem.what
            self._stopped.wait(PAUSES[min(failures, len(PAUSES) - 1)])

    def stop(self) -> None:
        """From another thread."""
        self._stopped.set()
        with suppress(AttributeError):
            self._call.cancel()

    def _converse(self, hub: Coalition) -> None:
        outgoing: queue.SimpleQueue[witnesses_pb2.WitnessMessage | None] = queue.SimpleQueue()
        outgoing.put(witnesses_pb2.WitnessMessage(hello=self._cosigner.key.public.encode()))
        self._call = witnesses_pb2_grpc.WitnessesStub(hub.channel).Attach(iter(outgoing.get, None))
        try:
            if self._stopped.is_set():
                return
            self._call.initial_metadata()
            self._trouble = ""
            self._tell(Event("attached", message=hub.identity.address))
            for question in self._call:
                outgoing.put(witnesses_pb2.WitnessMessage(answer=self._answer(hub, question)))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            outgoing.put(None)
            self._call.cancel()

    def _answer(
        self, hub: Coalition, question: witnesses_pb2.AddCheckpointRequest
    ) -> witnesses_pb2.AddCheckpointAnswer:
        def nodes(size: int) -> GetNode:
            return TileReader(hub.tile, size).node

        answer = self._cosigner.answer(question.body, nodes)
        return witnesses_pb2.AddCheckpointAnswer(number=question.number, status=answer.status, body=answer.body)


def refuse_unfit(identity: Identity) -> None:
    """Raises `Denied` for who may not witness: the hub would refuse its key for ever."""
    if identity.delegation:
        raise Denied("A delegate does not witness.", f"Run the witness in a home of {identity.id} itself.")
    if identity.role == "viewer":
        raise Denied(
            f"{identity.id} is a viewer, and a viewer does not witness.", "Ask the core team for another role."
        )


def enrolled(hub: Coalition, cosigner: Cosigner, tell: Tell) -> None:
    """Our key is in the ledger, by a statement of ours, when this returns."""
    us, vkey = hub.identity, cosigner.key.public.encode()
    if any(each.member == us.id and each.vkey == vkey for each in standing(hub).witnesses):
        return
    claim = Witness.of(us.hub, us.id, cosigner.key)
    hub.home.forget_statement(claim)  # an earlier one of the same words was disowned, or never came to be
    recorded = enrol_witness(hub, hub.sign(claim))
    tell(Event("enrolled", recorded.receipt.index + 1, vkey))


@contextmanager
def attached(home: Home, tell: Tell, clock: Callable[[], float] = time.time) -> Iterator[Cosigner]:
    """A witness in a thread of its own for as long as the block lasts; one that runs already in this home is left alone, and
    a home that may not witness does not."""
    cosigner = Cosigner(home, tell, clock)
    with ExitStack() as stack:
        try:
            refuse_unfit(home.identity())
            stack.enter_context(cosigner.memory.alone())
        except (Conflict, Denied) as problem:
            tell(Event("away", message=problem.what))
        else:
            attachment = Attachment(home, cosigner, tell)
            thread = threading.Thread(target=attachment.run, name="witness", daemon=True)
            thread.start()
            stack.callback(thread.join, STOP_SECONDS)
            stack.callback(attachment.stop)
        yield cosigner
