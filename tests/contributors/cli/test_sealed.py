"""A sealed suite through the command: its owner submits it, others see that it is there, and the ledger still verifies."""

from __future__ import annotations

from pathlib import Path

from contributors.client import Coalition as Client
from contributors.home import Home
from tests.contributors.cli.conftest import Coalition
from tests.contributors.served import Hub
from tests.hub.evaluation.conftest import suite_files, write
from trust.errors import NotFound


def enrol(hub: Hub, coalition: Coalition, home: Path, organisation: str) -> Path:
    said = coalition("enrol", "--hub", f"127.0.0.1:{hub.port}", "--token", hub.invite(organisation), home=home)
    assert said.code == 0, said.err
    return home


def readable(home: Path, digest: str) -> bool:
    with Client(Home(home)) as client:
        try:
            return bool(client.blob(digest))
        except NotFound:
            return False


def test_only_its_owner_reads_it_and_the_ledger_verifies(hub: Hub, coalition: Coalition, tmp_path: Path) -> None:
    law = enrol(hub, coalition, tmp_path / "law", "Law Institute")
    other = enrol(hub, coalition, tmp_path / "other", "University")
    folder = write(tmp_path / "suite", suite_files())
    said = coalition("suite", "submit", folder, "--sealed", "--json", home=law)
    assert said.code == 0, said.err
    assert said.json["visibility"] == "sealed"
    assert coalition("suite", "submit", folder, "--sealed", "--json", home=law).json["id"] == said.json["id"]
    shown = coalition("suite", "show", said.json["id"], "--json", home=other).json
    assert (shown["visibility"], shown["tasks"]) == ("sealed", [])
    data = next(file["digest"] for file in shown["files"] if file["path"] == "terms.jsonl")
    assert readable(law, data)
    assert not readable(other, data)
    listed = coalition("suite", "list", home=other).out
    assert f"law-institute/{shown['name']}@{shown['id'].removeprefix('suite-')}" in listed
    kept = [path for path in (hub.base.directory / "blobs").rglob("*") if path.is_file()]
    assert not any(b"arteries" in path.read_bytes() for path in kept)
    assert coalition("ledger", "verify", "--json", home=other).json["problems"] == []
    hub.stop()
    assert coalition("ledger", "verify", "--store", hub.base.directory, home=other).code == 0
    hub.start()
