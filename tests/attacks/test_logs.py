"""Secrets and members' data stay out of the hub's log and out of what a caller is told; a caller cannot write the log."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from contributors.client import Coalition
from contributors.home import Home
from hub import setup
from protos.coalition.v1 import common_pb2
from tests.dashboards.conftest import COMMANDS, ENVIRONMENT, HubProcess, free_ports, run
from trust.errors import Problem
from trust.invitations import Invitation

CANARY = "canary-4f1d-of-a-private-text"
FORGED = "x\n2026-01-01T00:00:00.000Z INFO hub.server all is well \x1b[2K"


def _fails(*words: str, home: Path) -> str:
    """What a command that must fail says."""
    command = [str(COMMANDS / "coalition"), *words]
    environment = {**ENVIRONMENT, "COALITION_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.system
def test_attack_39_no_secret_is_logged_or_told(tmp_path: Path) -> None:
    """39: spent and altered tokens, data that is refused, forged log lines and an internal failure: neither the log nor
    any answer holds a token, a key, a member's text or a path of the hub; each record of the log is the hub's own."""
    settings = setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    server = HubProcess(settings)
    server.start()
    home = tmp_path / "home"
    told: list[str] = []
    try:
        invited = ("--organisation", "Law Institute", "--role", "contributor")
        token = run("coalition-hub", "invite", str(settings.directory), *invited)["token"]
        enrol = ("enrol", "--hub", f"127.0.0.1:{settings.port}", "--token")
        run("coalition", *enrol, token, home=home)
        told.append(_fails(*enrol, token, home=tmp_path / "thief"))
        known = Invitation.decode(token)
        altered = Invitation(bytes(32), known.ca_fingerprint, known.port).encode()
        told.append(_fails(*enrol, altered, home=tmp_path / "thief"))
        told += _refused_submissions(tmp_path, home)
        with Coalition(Home(home)) as client:
            for envelope in (FORGED.encode(), json.dumps({"payload": CANARY, "x": FORGED}).encode()):
                with pytest.raises(Problem) as refused:
                    client.join_campaign(common_pb2.SignedStatement(envelope=envelope))
                told.append(refused.value.diagnostics())
            with sqlite3.connect(
                settings.directory / "database.sqlite"
            ) as database:  # the hub meets an error of its own
                database.execute("DROP TABLE submission")
            with pytest.raises(Problem) as broken:
                client.submissions("dataset")
            told.append(broken.value.diagnostics())
    finally:
        server.stop()
    log = (settings.directory / "serve.log").read_text()
    keys = [key.splitlines()[1] for path in home.rglob("*.key") if "PRIVATE" in (key := path.read_text())]
    assert keys, "the home holds private keys"
    for text in (log, *told):
        for secret in (token, altered, known.secret.hex(), CANARY, "PRIVATE KEY", *keys):
            assert secret not in text
        assert "\x1b" not in text
    for text in told:
        assert str(settings.directory) not in text
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01")]


def _refused_submissions(tmp_path: Path, home: Path) -> list[str]:
    """What a member is told of texts that are refused, here or at the hub."""
    good = json.dumps({"text": f"{CANARY} in a sentence that is repeated word for word"})
    texts = {"broken.jsonl": f'{{"text": "{CANARY}', "repeated.jsonl": f"{good}\n" * 50}
    said = []
    for name, content in texts.items():
        (tmp_path / name).write_text(content)
        words = ("--name", "texts", "--domain", "law", "--licence", "CC-BY-4.0")
        said.append(_fails("data", "submit", str(tmp_path / name), *words, home=home))
    return said
