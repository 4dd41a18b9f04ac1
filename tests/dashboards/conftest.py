"""A real hub, a viewer's home, the dashboard as `coalition dashboard` serves it, and headless Chromium."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub import setup
from hub.settings import Settings
from tests.dashboards import history

START_SECONDS = 60.0
COMMANDS = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


@dataclass
class Site:
    """A hub with its dashboard."""

    settings: Settings
    url: str
    start_hub: Callable[[], None]
    stop_hub: Callable[[], None]


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on, below those that the system gives to who calls out: such a
    caller would take the port of a hub that is about to start again."""
    while True:
        first = random.randrange(15_000, 32_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


@contextmanager
def process(arguments: list[str], log: Path, environment: dict[str, str], ready: Callable[[], bool]) -> Iterator[None]:
    """A child with a log file and a process group of its own, until the block ends."""
    with log.open("ab") as output:
        child = subprocess.Popen(arguments, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        _await(lambda: child.poll() is not None or ready(), log)
        assert child.poll() is None, f"{arguments[:4]} ended: {log.read_text()[-2000:]}"
        yield
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(10)


def _await(happened: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not happened():
        assert time.monotonic() < end, f"not ready: {log.read_text()[-2000:]}"
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether something listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def healthy(port: int) -> bool:
    """Whether Streamlit serves pages."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def run(*arguments: str, home: Path | None = None) -> dict[str, Any]:
    """A command of ours that prints JSON."""
    environment = {**ENVIRONMENT, **({"COALITION_HOME": str(home)} if home else {})}
    command = [str(COMMANDS / arguments[0]), *arguments[1:], "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class HubProcess:
    """`coalition-hub serve`, which can be stopped and started again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._running: Any = None

    def start(self) -> None:
        arguments = [str(COMMANDS / "coalition-hub"), "serve", str(self.settings.directory)]
        log = self.settings.directory / "serve.log"
        self._running = process(arguments, log, ENVIRONMENT, lambda: answers(self.settings.port))
        self._running.__enter__()

    def stop(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None


@contextmanager
def site(directory: Path, fill: Callable[[Settings], None], organisation: str = "The Public") -> Iterator[Site]:
    """A hub, filled, with an enrolled viewer and its dashboard."""
    settings = setup.create(directory / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    fill(settings)
    hub, home, port = HubProcess(settings), directory / "viewer", free_ports(1)
    hub.start()
    try:
        token = run(
            "coalition-hub", "invite", str(settings.directory), "--organisation", organisation, "--role", "viewer"
        )["token"]
        address = f"127.0.0.1:{settings.port}"
        run("coalition", "enrol", "--hub", address, "--token", token, home=home)
        command = [str(COMMANDS / "coalition"), "dashboard", "--port", str(port)]
        environment = {**ENVIRONMENT, "COALITION_HOME": str(home)}
        with process(command, directory / "dashboard.log", environment, lambda: healthy(port)):
            yield Site(settings, f"http://127.0.0.1:{port}", hub.start, hub.stop)
    finally:
        hub.stop()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A coalition with a history: data, suites, a run, a campaign, scores, a release."""
    with site(tmp_path_factory.mktemp("full"), history.fill) as made:
        yield made


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub on its first day."""
    with site(tmp_path_factory.mktemp("empty"), lambda settings: None) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium from the system; playwright's own download is not needed."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *QUIET])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test when it calls anything but this machine."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    outside: list[str] = []
    context.on("request", lambda request: _note(request.url, outside))
    made = context.new_page()
    made.set_default_timeout(20_000)
    yield made
    context.close()
    assert not outside, f"the page called {outside}"


def _note(url: str, outside: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
        outside.append(url)
