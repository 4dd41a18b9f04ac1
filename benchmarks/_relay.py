"""A relay on loopback that counts what it passes on: the bytes between a server of rounds and its sites, TLS and all."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

PIECE = 1 << 18


class Relay:
    """Listens on `port` and passes everything on to `to`, until the block ends. `moved` counts bytes of both directions."""

    def __init__(self, port: int, to: int) -> None:
        self.port, self._to, self.moved = port, to, 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        opening = asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result()
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            onward, back = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._copy(reader, back), self._copy(onward, writer))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                self.moved += len(piece)
                sink.write(piece)
                await sink.drain()
        with suppress(OSError):
            sink.close()
