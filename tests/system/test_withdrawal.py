"""A withdrawn dataset with real processes: it is purged, the hub is killed and rebuilt, and everybody's audit holds."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from contributors.demo.parties import BIN, Party, answers, free_ports, run
from trust.errors import Problem

pytestmark = pytest.mark.system


class Hub:
    """A hub's process, which purges without a grace."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory / "hub", free_ports(3)
        run([BIN / "coalition-hub", "init", self.directory, "--name", "europe", "--port", self.port])
        toml = self.directory / "hub.toml"
        toml.write_text(toml.read_text().replace("purge_grace_days = 7.0", "purge_grace_days = 0.0"))
        self._process: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        with (self.directory.parent / "hub.log").open("ab") as log:
            words = [str(BIN / "coalition-hub"), "serve", str(self.directory)]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait("the hub's start", lambda: answers(self.port) and answers(self.port + 1))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def command(self, *words: object) -> str:
        return run([BIN / "coalition-hub", words[0], self.directory, *words[1:]])

    def enrol(self, directory: Path, organisation: str, role: str) -> Party:
        token = json.loads(self.command("invite", "--organisation", organisation, "--role", role, "--json"))["token"]
        party = Party(organisation, directory / organisation)
        party.coalition("enrol", "--hub", f"127.0.0.1:{self.port}", COALITION_TOKEN=token)
        return party

    def blob(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self.directory / "blobs" / "sha256" / name[:2] / name


def wait(what: str, ready: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(Problem):
            if ready():
                return
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    hub.serve()
    yield hub
    hub.kill()


def submit(party: Party, folder: Path, name: str) -> dict[str, Any]:
    described = ("--name", name, "--domain", "law", "--licence", "CC-BY-4.0", "--category", "open")
    return dict(party.coalition("data", "submit", folder, *described))


def test_withdrawn_purged_killed_rebuilt_and_submitted_again(hub: Hub, tmp_path: Path) -> None:
    owner, other = (hub.enrol(tmp_path, name, "contributor") for name in ("owner", "other"))
    text = tmp_path / "text"
    text.mkdir()
    (text / "letter.txt").write_text("A letter that its writer wants back.")
    submission = submit(owner, text, "letters")
    digest = submission["files"][0]["digest"]
    assert other.coalition("ledger", "mirror", tmp_path / "mirror")["purged"] == 0
    os.utime(hub.blob(digest), (0, 0))  # an hour ago
    owner.coalition("data", "withdraw", submission["id"], "--reason", "consent was revoked")
    wait("the purge", lambda: not hub.blob(digest).exists())
    hub.kill()
    hub.serve()

    shown = owner.coalition("data", "show", submission["id"])
    assert (shown["state"], int(shown["purged_blobs"])) == ("purged", 1)
    assert int(shown["purged_index"]) > int(shown["withdrawn_index"])
    told = run([BIN / "coalition", "data", "show", submission["id"]], COALITION_HOME=str(owner.home))
    assert f"since entry {shown['withdrawn_index']}" in told
    assert f"1 of 1 blobs, since entry {shown['purged_index']}" in told
    for audit in (("audit",), ("audit", "--store", hub.directory), ("verify",)):
        found = other.coalition("ledger", *audit)
        assert (found["problems"], found["blobs_purged"]) == ([], 1), audit
    assert other.coalition("ledger", "mirror", tmp_path / "mirror")["purged"] == 1
    assert not list((tmp_path / "mirror" / "blobs" / "sha256").glob(f"*/{hub.blob(digest).name}"))
    assert other.coalition("ledger", "audit", "--mirror", tmp_path / "mirror")["problems"] == []

    hub.kill()
    before = hub.command("dump")
    hub.command("rebuild")
    assert hub.command("dump") == before
    hub.serve()
    again = submit(owner, text, "letters-again")
    assert again["files"][0]["digest"] == digest
    assert hub.blob(digest).read_bytes()
    found = other.coalition("ledger", "audit", "--store", hub.directory)
    assert (found["problems"], found["blobs_purged"]) == ([], 0)
