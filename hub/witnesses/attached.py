"""One witness at the other end of a conversation that it began."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from protos.coalition.v1 import witnesses_pb2
from trust.errors import Unavailable
from trust.keys import WitnessPublicKey

ANSWER_SECONDS = 60.0


@dataclass(eq=False)
class AttachedWitness:
    """`size` is the largest tree that it cosigned, as far as we know: what the next proof starts from."""

    member: str
    key: WitnessPublicKey
    outgoing: asyncio.Queue[witnesses_pb2.AddCheckpointRequest | None] = field(default_factory=asyncio.Queue)
    size: int = 0
    time: int = 0
    trouble: str = ""
    refused: bytes = b""
    """The head that it would not cosign: it is not asked for that one again."""
    busy: bool = False
    _number: int = 0
    _answer: asyncio.Future[witnesses_pb2.AddCheckpointAnswer] | None = None

    async def ask(self, body: bytes) -> witnesses_pb2.AddCheckpointAnswer:
        """Its answer to an add-checkpoint request. Raises `Unavailable` when it leaves or is silent for too long."""
        self._number += 1
        self._answer = asyncio.get_running_loop().create_future()
        self.outgoing.put_nowait(witnesses_pb2.AddCheckpointRequest(number=self._number, body=body))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._answer
        except TimeoutError:
            raise Unavailable(f"The witness of {self.member} does not answer.") from None
        finally:
            self._answer = None

    def hear(self, answer: witnesses_pb2.AddCheckpointAnswer) -> None:
        """An answer to anything but the last question comes too late, and is dropped."""
        if self._answer is not None and answer.number == self._number and not self._answer.done():
            self._answer.set_result(answer)

    def leave(self) -> None:
        """The conversation is over, for whatever reason."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable(f"The witness of {self.member} went away."))
        self.outgoing.put_nowait(None)
