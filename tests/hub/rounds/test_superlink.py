"""The SuperLink that the hub keeps: locked to strangers, back after a kill, and it knows the sites' keys."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from contributors.site.keys import site_key
from hub.rounds import control, sites
from hub.rounds.superlink import SuperLink
from hub.setup import create
from trust.errors import Denied

pytestmark = pytest.mark.system

Running = Callable[[Callable[[SuperLink], Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]]


@pytest.fixture
def running(tmp_path: Path, first_free_port: int) -> Running:
    """Do something with a SuperLink while it is kept running."""

    async def run(act: Callable[[SuperLink], Coroutine[Any, Any, None]]) -> None:
        settings = create(tmp_path / "hub", "test-hub", host="127.0.0.1", bind="127.0.0.1", port=first_free_port)
        superlink = SuperLink(settings)
        task = asyncio.create_task(superlink.run())
        try:
            await asyncio.wait_for(superlink.ready(), 300)
            await act(superlink)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return run


async def test_strangers_find_the_control_api_locked(running: Running) -> None:
    async def act(superlink: SuperLink) -> None:
        context = ssl.create_default_context(cadata=superlink.authority.decode())
        async with httpx.AsyncClient(verify=context, base_url=f"https://{superlink.address}") as client:
            for path in ("/v1/control/start-run", "/v1/control/list-nodes", "/v1/responses", "/docs"):
                assert (await client.post(path, headers={"x-coalition-secret": "guess"})).status_code == 403
                assert (await client.post(path)).status_code == 403
        with (
            control.runtime_client(superlink.address, superlink.authority, "guess") as runtime,
            pytest.raises(httpx.HTTPStatusError, match=r"40[13]"),
        ):
            await asyncio.to_thread(control.acquire_server_task, runtime)

    await running(act)


async def test_it_comes_back_after_a_kill_and_still_knows_the_sites(running: Running, tmp_path: Path) -> None:
    async def act(superlink: SuperLink) -> None:
        key = sites.read_public_key(site_key(tmp_path).public_line)
        node = await superlink.register(key)
        (found,) = (
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and f"superlink_process {tmp_path}".encode() in _command_line(entry)
        )
        os.kill(found, signal.SIGKILL)
        await asyncio.wait_for(superlink.death(0), 30)
        await asyncio.wait_for(superlink.ready(), 300)
        assert await superlink.register(key) == node
        secret = Path(superlink.secret_file).read_text()
        with control.control_client(superlink.address, superlink.authority, secret) as client:
            control.stop_runs(client)

    await running(act)


async def test_a_key_that_was_given_up_is_unknown_for_ever_and_others_stay(running: Running, tmp_path: Path) -> None:
    async def act(superlink: SuperLink) -> None:
        mine, theirs = (sites.read_public_key(site_key(tmp_path / name).public_line) for name in ("mine", "theirs"))
        node = await superlink.register(mine)
        await superlink.register(theirs)
        for _ in range(2):
            await superlink.forget([theirs])
        assert await superlink.register(mine) == node
        with pytest.raises(Denied, match="given up"):
            await superlink.register(theirs)

    await running(act)


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""
