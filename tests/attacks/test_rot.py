"""Bit rot: one byte of a hub's disk changes. It is never served, a scrub names it, and a member's mirror brings it back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from contributors.client import Coalition
from contributors.home import Home
from hub import setup
from hub.places import place
from hub.settings import Settings
from protos.coalition.v1 import ledger_pb2
from protos.coalition.v1.common_pb2 import Receipt
from protos.coalition.v1.ledger_pb2_grpc import LedgerStub
from protos.documents.base import FileEntry
from protos.documents.submissions import Dataset
from protos.transport import blobs
from protos.transport.errors import from_rpc_error
from protos.transport.uploads import Source
from tests.contributors.conftest import base, client, database, database_url, home, hub  # noqa: F401  (fixtures)
from tests.contributors.served import Hub, flip
from tests.dashboards import history
from tests.dashboards.conftest import COMMANDS, ENVIRONMENT, HubProcess, free_ports, run
from tests.hub.ledger.test_log import Files
from trust.audit import verify_log
from trust.digests import Digest, digest_bytes, digest_file
from trust.errors import Corrupt, NotFound
from trust.keys import LogKey
from trust.notes import TreeHead
from trust.receipts import verify_receipt


@dataclass
class Coalitions:
    """A hub whose first bundle of entries is full, a member of it, and the member's mirror."""

    settings: Settings
    home: Path
    mirror: Path

    @contextmanager
    def serving(self) -> Iterator[Coalition]:
        process = HubProcess(self.settings)
        process.start()
        try:
            with Coalition(Home(self.home)) as coalition:
                yield coalition
        finally:
            process.stop()

    def serve_in_vain(self) -> str:
        """What a hub says that does not start."""
        command = [str(COMMANDS / "coalition-hub"), "serve", str(self.settings.directory)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def scrub(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The exit code of `coalition-hub scrub`, and what it found."""
        command = [str(COMMANDS / "coalition-hub"), "scrub", str(self.settings.directory), "--json", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT)
        return done.returncode, json.loads(done.stdout)

    def restore(self) -> list[str]:
        """What is taken back from the mirror, after which nothing is damaged."""
        code, found = self.scrub("--restore-from", str(self.mirror))
        assert (code, found["lost"], found["cut_short"]) == (0, [], {})
        assert self.scrub()[0] == 0
        return [each["name"] for each in found["restored"]]

    def head(self) -> TreeHead:
        """Of the log, which is audited as a whole."""
        return verify_log(Files(self.settings.ledger_dir), LogKey.load(self.settings.log_key).public).head


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Coalitions:
    directory = tmp_path_factory.mktemp("rot")
    settings = setup.create(directory / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    history.fill(settings)
    filled = history.History(settings)
    for number in range(260 - filled.base.journal.size):
        filled.enrol(f"member-{number}", "viewer")
    filled.close()
    made = Coalitions(settings, directory / "home", directory / "mirror")
    process = HubProcess(settings)
    process.start()
    try:
        where = str(settings.directory)
        token = run("coalition-hub", "invite", where, "--organisation", "Keeper", "--role", "viewer")["token"]
        run("coalition", "enrol", "--hub", f"127.0.0.1:{settings.port}", "--token", token, home=made.home)
        run("coalition", "ledger", "mirror", str(made.mirror), home=made.home)
    finally:
        process.stop()
    return made


@pytest.fixture
def rotting(template: Coalitions, tmp_path: Path) -> Coalitions:
    shutil.copytree(template.settings.directory.parent, tmp_path, dirs_exist_ok=True)
    return Coalitions(Settings.load(tmp_path / "hub"), tmp_path / "home", tmp_path / "mirror")


@pytest.mark.system
def test_attack_37_a_byte_of_a_blob_is_never_served_and_comes_back_by_its_digest(
    rotting: Coalitions, tmp_path: Path
) -> None:
    with rotting.serving() as coalition:
        suite = coalition.submission(next(each.id for each in coalition.submissions("suite")))
        file = FileEntry.read({"path": "suite.json", "digest": suite.files[0].digest, "size": suite.files[0].size})
    digest, target = Digest(file.digest), tmp_path / "suite.json"
    stored = place(rotting.settings.blobs_dir / "sha256", digest)
    flip(stored, file.size // 2)
    code, found = rotting.scrub()
    (damage,) = found["damage"]
    assert (code, damage["kind"], damage["name"]) == (1, "blob", digest)
    assert any(suite.id in owner and "suite.json" in owner for owner in damage["belongs"])
    with rotting.serving() as coalition:
        with pytest.raises(Corrupt):
            blobs.download(coalition.channel, digest, file.size, target)
        assert not list(tmp_path.glob("*suite.json*"))  # nor the beginning of it
        with pytest.raises(NotFound, match="damaged on the hub's disk"):
            coalition.blob(digest)
        assert rotting.restore() == [digest]  # while it serves
        blobs.download(coalition.channel, digest, file.size, target)
    assert digest_file(target) == digest_file(stored) == digest


def test_attack_37_a_damaged_blob_is_set_aside_so_that_its_owner_can_send_it_again(
    hub: Hub,  # noqa: F811
    client: Coalition,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The submission stands as it was recorded: the same receipt, and nothing is screened again."""
    path = tmp_path / "part-000.jsonl"
    path.write_bytes(b'{"text": "of contracts"}\n')
    file = {"path": path.name, "digest": digest_bytes(path.read_bytes()), "size": path.stat().st_size, "rows": 1}
    values = {"name": "contracts", "domain": "law", "licence": "CC-BY-4.0", "provenance": "made for a test"}
    claim = Dataset.read(
        {"hub": client.identity.hub, "signer": client.identity.id, "rows": 1, "files": [file], **values}
    )
    statement, files = client.sign(claim), {str(file["digest"]): Source(path)}
    first = client.submit(statement, files, lambda size: None)
    digest = Digest(str(file["digest"]))
    flip(hub.base.blobs.path(digest), 3)
    assert not client.blob_intact(digest)
    assert hub.base.blobs.was_set_aside(digest)
    assert client.submit(statement, files, lambda size: None).receipt.index == first.receipt.index
    assert client.blob(digest) == path.read_bytes()
    assert client.submit(statement, {}, lambda size: None).id == first.id
    assert [each.state for each in client.submissions("dataset")] == ["accepted"]


@pytest.mark.system
@pytest.mark.parametrize(("path", "at"), [("tile/entries/000", 70), ("tile/0/000", 33)], ids=["entry bundle", "tile"])
def test_attack_37_a_byte_of_the_ledger_is_never_served_and_comes_back_under_the_signed_head(
    rotting: Coalitions, path: str, at: int
) -> None:
    """Neither the file nor a proof that leads through it. What does not need it is served on."""
    whole, head = (rotting.settings.ledger_dir / path).read_bytes(), rotting.head()
    flip(rotting.settings.ledger_dir / path, at)
    code, found = rotting.scrub()
    kind = "bundle" if "entries" in path else "tile"
    assert (code, [(each["kind"], each["name"]) for each in found["damage"]]) == (1, [(kind, path)])
    with rotting.serving() as coalition:
        ledger = LedgerStub(coalition.channel)

        def receipt(index: int) -> Receipt:
            return ledger.GetReceipt(ledger_pb2.GetReceiptRequest(index=index), timeout=30)

        with pytest.raises(Corrupt):
            coalition.tile(path)
        for call in (
            lambda: receipt(1),
            lambda: ledger.ListEntries(ledger_pb2.ListEntriesRequest(start=0, count=10), timeout=30),
        ):
            with pytest.raises(grpc.RpcError) as refusal:
                call()
            assert isinstance(from_rpc_error(refusal.value), Corrupt)
        receipts = [receipt(head.size - 1)]
        assert rotting.restore() == [path]  # while it serves
        assert coalition.tile(path) == whole
        receipts.append(receipt(1))
    for each in receipts:
        verify_receipt(each.proof, each.leaf, LogKey.load(rotting.settings.log_key).public)
    assert rotting.head() == head


@pytest.mark.system
def test_attack_37_a_hub_does_not_start_on_a_damaged_edge_and_says_what_to_do(rotting: Coalitions) -> None:
    """What the next entry would be appended to."""
    head, path = rotting.head(), "tile/0/001.p/5"
    assert head.size == 261
    flip(rotting.settings.ledger_dir / path, 20)
    assert "--restore-from" in rotting.serve_in_vain()
    assert [each["name"] for each in rotting.scrub()[1]["damage"]] == [path]
    assert rotting.restore() == [path]
    with rotting.serving() as coalition:
        assert coalition.head().size == head.size
    assert rotting.head() == head


def change_a_fact(settings: Settings) -> None:
    """One letter of a row, in a page that stays well-formed: SQLite notices nothing."""
    path = settings.directory / "database.sqlite"
    flip(path, path.read_bytes().index(b"law-suite"))


def change_a_page(settings: Settings) -> None:
    """The kind of the page at the root of the ledger's entries."""
    path = settings.directory / "database.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'ledger_entry'"
        ((page,),) = connection.execute(query).fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    flip(path, (page - 1) * size)


@pytest.mark.system
@pytest.mark.parametrize("change", [change_a_fact, change_a_page])
def test_attack_37_a_byte_of_a_database_page_is_found_and_the_ledger_makes_the_database_anew(
    rotting: Coalitions, change: Callable[[Settings], None]
) -> None:
    """A page out of order stops the hub. A fact that changed in order is found by replaying the ledger, which is what members
    go by: what they can prove never comes from the database."""
    with rotting.serving() as coalition:
        before = [(each.id, each.name) for each in coalition.submissions("suite")]
    with closing(sqlite3.connect(rotting.settings.directory / "database.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    change(rotting.settings)
    code, found = rotting.scrub()
    assert code == 1
    assert {each["kind"] for each in found["damage"]} == {"database"}
    if change is change_a_page:
        assert "coalition-hub rebuild" in rotting.serve_in_vain()
    run("coalition-hub", "rebuild", str(rotting.settings.directory))
    assert rotting.scrub()[0] == 0
    with rotting.serving() as coalition:
        assert [(each.id, each.name) for each in coalition.submissions("suite")] == before
