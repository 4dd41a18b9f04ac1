"""Keeps a SuperLink running: its certificate, its secret, its process, and the sites' keys it knows."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from hub.rounds import children, control
from hub.settings import Settings
from trust.certificates import Authority
from trust.errors import Unavailable
from trust.files import write_atomic, write_private

if TYPE_CHECKING:
    from flwr.supercore.control.control_http_client import ControlHttpClient

Answer = TypeVar("Answer")
LONGEST_PAUSE = 30.0
HEALTHY_AFTER = 60.0  # seconds of life after which a death counts as the first again
STARTING = 40.0  # below the deadline of a member's call
_log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every call to Flower


class SuperLink:
    """`run` keeps the process alive; `ready` says whether it answers; `deaths` counts how often it had to be restarted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.superlink_dir
        self._authority = Authority.load(settings.authority_dir)
        self._ready = asyncio.Event()
        self._died = asyncio.Event()
        self.address = f"{settings.own_host}:{settings.superlink_port}"
        self.deaths = 0

    @property
    def authority(self) -> bytes:
        return self._authority.cert_pem

    @property
    def authority_file(self) -> str:
        return str(self._settings.authority_dir / "ca.crt")

    @property
    def secret_file(self) -> str:
        return str(self._directory / "secret")

    async def ready(self) -> None:
        """Wait until it answers."""
        await self._ready.wait()

    async def death(self, deaths: int) -> None:
        """Wait until it has died more often than `deaths` times."""
        while self.deaths <= deaths:
            await self._died.wait()

    async def run(self) -> None:
        """Start it, and start it again whenever it dies, ever more slowly; ends when cancelled."""
        self._prepare()
        pause = 0.5
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            child = await children.start(self._command(), self._directory / "superlink.log", self._environment())
            try:
                await self._until_death(child)
            finally:
                self._ready.clear()
                await children.stop(child)
            self._note_death()
            pause = 0.5 if loop.time() - began > HEALTHY_AFTER else min(pause * 2, LONGEST_PAUSE)
            _log.warning("the SuperLink ended with code %s; it starts again in %.1f s", child.returncode, pause)
            await asyncio.sleep(pause)

    def _note_death(self) -> None:
        self.deaths += 1
        self._died.set()
        self._died = asyncio.Event()

    async def register(self, public_key: bytes) -> int:
        """Make a site's key (SPKI PEM) known; Flower's number for the node. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(STARTING):
                await self.ready()
            return await asyncio.to_thread(self._register, public_key)
        except (TimeoutError, OSError) as error:
            raise Unavailable(f"The SuperLink does not answer: {error or 'it is starting'}.", "Try again.") from None

    async def forget(self, public_keys: Collection[bytes]) -> None:
        """Make sites' keys (SPKI PEM) unknown, those that are known, once it answers. Raises `Unavailable`."""
        await self.ready()
        await asyncio.to_thread(self._ask, lambda client: control.unregister_nodes(client, public_keys))

    async def stop_runs(self) -> None:
        """End the Flower runs that nobody leads any more, so that no site takes a task of theirs. While it does not answer there
        is nobody to tell: whoever begins the next run ends those before (`serverapp`)."""
        if self._ready.is_set():
            with suppress(Unavailable, OSError):
                await asyncio.to_thread(self._ask, control.stop_runs)

    def _register(self, public_key: bytes) -> int:
        return self._ask(lambda client: control.register_node(client, public_key))

    def _ask(self, question: Callable[[ControlHttpClient], Answer]) -> Answer:
        import httpx

        try:
            with control.control_client(self.address, self.authority, self._secret()) as client:
                return question(client)
        except httpx.HTTPError as error:
            raise Unavailable(f"The SuperLink refused what was asked of it: {error}.", "Try again.") from None

    def _secret(self) -> str:
        return (self._directory / "secret").read_text()

    async def _until_death(self, child: asyncio.subprocess.Process) -> None:
        death = asyncio.create_task(child.wait())
        answering = asyncio.create_task(self._until_answering())
        try:
            await asyncio.wait([death, answering], return_when=asyncio.FIRST_COMPLETED)
            if answering.done() and not death.done():
                self._ready.set()
            await death
        finally:
            for task in (death, answering):
                task.cancel()
            await asyncio.gather(death, answering, return_exceptions=True)

    async def _until_answering(self) -> None:
        context = ssl.create_default_context(cadata=self.authority.decode())
        while True:
            with suppress(OSError, TimeoutError):
                opening = asyncio.open_connection(
                    self._settings.own_host, self._settings.superlink_port, ssl=context, ssl_handshake_timeout=5
                )
                async with asyncio.timeout(5):
                    _, writer = await opening
                writer.close()
                return
            await asyncio.sleep(0.2)

    def _prepare(self) -> None:
        """A fresh server certificate of the hub's own authority, and the secret of this hub's SuperLink."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self._directory / "secret").exists():
            write_private(self._directory / "secret", secrets.token_hex(32).encode())
        key, chain = self._authority.issue_server(
            list(dict.fromkeys([self._settings.own_host, "127.0.0.1", "localhost"]))
        )
        write_private(self._directory / "server.key", key)
        write_atomic(self._directory / "server.crt", chain)

    def _environment(self) -> dict[str, str]:
        return children.environment(self._directory / "flwr")

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "hub.rounds.superlink_process",
            self.secret_file,
            f"--superexec-auth-secret-file={self.secret_file}",
            f"--ssl-ca-certfile={self.authority_file}",
            f"--ssl-certfile={self._directory / 'server.crt'}",
            f"--ssl-keyfile={self._directory / 'server.key'}",
            f"--database={self._directory / 'state.db'}",
            f"--host={self._settings.bind}",
            f"--port={self._settings.superlink_port}",
            "--isolation=process",
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]
