"""Two real hub processes on one PostgreSQL and one bucket: the leader is killed, stopped and woken, and nothing is lost.

The tests build on one another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import obstore
import psycopg
import pytest
from obstore.store import from_url

from contributors.client import Coalition
from contributors.demo.parties import BIN, answers, run
from contributors.home import Home, Identity
from contributors.packing import Packed, pack_dataset
from protos.coalition.v1.common_pb2 import Receipt
from protos.coalition.v1.submissions_pb2_grpc import SubmissionsStub
from protos.documents.leaf import Leaf
from protos.documents.submissions import Withdrawal
from protos.transport.enrolment import enrol
from tests import postgres, s3
from tests.contributors.served import dataset
from tests.dashboards.conftest import free_ports
from trust.audit import Audit, verify_log
from trust.digests import Digest
from trust.errors import NotFound, Problem, Unavailable
from trust.invitations import Invitation
from trust.notes import TreeHead
from trust.receipts import verify_receipt

pytestmark = pytest.mark.system


@dataclass
class Files:
    """The ledger as it lies on the disk."""

    directory: Path

    def read_tile(self, path: str) -> bytes:
        try:
            return (self.directory / path).read_bytes()
        except FileNotFoundError:
            raise NotFound(path) from None

    def read_tree_head(self) -> bytes:
        return self.read_tile("checkpoint")


@dataclass(frozen=True)
class At(Home):
    """The member's home, for a connection to chosen processes."""

    address: str

    def identity(self) -> Identity:
        return super().identity().model_copy(update={"address": self.address})


@dataclass
class Cluster:
    """The processes of one hub by name, and a member of it."""

    directory: Path
    database: str
    blobs: str
    s3: dict[str, str]
    ports: dict[str, int]
    home: Home = field(init=False)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    packed: dict[str, Packed] = field(default_factory=dict)

    @property
    def hub(self) -> Path:
        return self.directory / "hub"

    def age(self) -> None:
        """Nobody relied on any blob for an hour."""
        for path in (self.hub / "blobs" / "sha256").glob("*/*"):
            os.utime(path, (0, 0))

    def in_the_bucket(self, digest: str) -> bool:
        name = digest.removeprefix("sha256:")
        with suppress(FileNotFoundError):
            obstore.head(from_url(self.blobs), f"sha256/{name[:2]}/{name}")
            return True
        return False

    def start(self, name: str) -> None:
        command = [str(BIN / "coalition-hub"), "serve", str(self.hub), "--at", f"127.0.0.1:{self.ports[name]}"]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait(f"{name} serves", lambda: answers(self.ports[name]) and answers(self.ports[name] + 1))

    def environment(self) -> dict[str, str]:
        stores = {"COALITION_DATABASE": self.database, "COALITION_BLOBS": self.blobs, **self.s3}
        return {**os.environ, **stores, "OMP_NUM_THREADS": "1"}

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            process.wait(30)

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> float:
        """Until it is so; the seconds that it took."""
        began = time.monotonic()
        while not ready():
            if time.monotonic() - began > seconds:
                logs = {path.name: path.read_text(errors="replace")[-3000:] for path in self.directory.glob("*.log")}
                raise AssertionError(f"{what}: not within {seconds} s\n" + json.dumps(logs, indent=1))
            time.sleep(0.02)
        return time.monotonic() - began

    def leader(self) -> str:
        """The name of the process that leads, by its address; empty while there is none."""
        with psycopg.connect(self.database) as connection, suppress(psycopg.errors.UndefinedTable):
            row = connection.execute("SELECT address FROM ledger_leader").fetchone()
            return next((name for name, port in self.ports.items() if row and row[0] == f"127.0.0.1:{port}"), "")
        return ""

    def client(self, *names: str) -> Coalition:
        """Connected to one process, or to whichever of several answers."""
        address = ",".join(f"127.0.0.1:{self.ports[name]}" for name in names)
        return Coalition(At(self.home.directory, address))

    def submit(self, client: Coalition, name: str) -> int:
        """A dataset of its own; its place in the ledger, proven by the receipt that came with the answer."""
        return self.receipt_of(client, name).index

    def receipt_of(self, client: Coalition, name: str) -> Receipt:
        """As `submit`: the receipt, verified."""
        if name not in self.packed:
            text = self.directory / f"{name}.txt"
            text.write_text(f"The contract {name} binds both parties until one of them terminates it in writing.")
            self.packed[name] = pack_dataset(text, self.directory / name)
        statement = client.sign(dataset(client, self.packed[name], name=name))
        receipt = client.submit(statement, self.packed[name].sources, lambda count: None).receipt
        verify_receipt(receipt.proof, receipt.leaf, self.home.ledger_key())
        return receipt

    def audit(self, known: TreeHead | None = None) -> Audit:
        return verify_log(Files(self.hub / "ledger"), self.home.ledger_key(), known)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with postgres.server() as url, s3.server() as buckets:
        first = free_ports(6)
        ports = {"first": first, "second": first + 3}
        made = Cluster(directory, url, buckets.bucket(), buckets.environment, ports)
        run([BIN / "coalition-hub", "init", made.hub, "--name", "replicated", "--port", first])
        toml = made.hub / "hub.toml"
        toml.write_text(toml.read_text().replace("purge_grace_days = 7.0", "purge_grace_days = 0.0"))
        try:
            made.start("first")
            made.wait("the first one leads", lambda: made.leader() == "first")
            made.start("second")
            made.home = member(made)
            yield made
        finally:
            made.stop()


def member(cluster: Cluster) -> Home:
    """Enrolled at the process that does not lead."""
    command = [BIN / "coalition-hub", "invite", cluster.hub, "--organisation", "Law Institute", "--json"]
    token = json.loads(run(command, COALITION_DATABASE=cluster.database))["token"]
    invitation = Invitation.decode(token)
    home = Home(cluster.directory / "home")
    elsewhere = Invitation(invitation.secret, invitation.ca_fingerprint, cluster.ports["second"] + 1)
    enrolled = enrol("127.0.0.1", elsewhere, "member", home.artifact_key())
    addresses = ",".join(f"127.0.0.1:{port}" for port in cluster.ports.values())
    home.save_enrolment(enrolled, addresses)
    return home


def test_every_process_reads_uploads_and_carries_statements_to_the_leader(cluster: Cluster) -> None:
    with cluster.client("second") as client:
        index = cluster.submit(client, "through-the-second")
        assert client.whoami().id == "law-institute"
        assert client.receipt(str(index)).index == index
        assert client.head().size == index + 1
        assert [run.id for run in client.runs()] == []
    with cluster.client("first") as client:
        assert [each.name for each in client.submissions("dataset")] == ["through-the-second"]
        assert cluster.submit(client, "through-the-second") == index
    assert cluster.leader() == "first"


def test_a_process_of_the_hub_cannot_be_played_and_strangers_stay_outside(cluster: Cluster) -> None:
    """What is passed on is the caller's own certificate: a member that adds somebody else's to its call stays itself."""
    with cluster.client("first") as client:
        forged = [("coalition-caller-bin", (cluster.hub / "tls" / "server.crt").read_bytes())]
        whoami = client.channel.unary_unary("/coalition.v1.Members/WhoAmI")
        assert b"law-institute" in whoami(b"", metadata=forged, timeout=10)


def test_kill_9_of_the_leader_loses_nothing_and_another_takes_over(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """A member submits one dataset after the other, all the time."""
    acknowledged: dict[str, Receipt] = {}
    enough = threading.Event()

    def submit_all() -> None:
        with cluster.client("first", "second") as client:
            number = 0
            while not enough.is_set():
                acknowledged[f"burst-{number}"] = cluster.receipt_of(client, f"burst-{number}")
                number += 1

    submitting = threading.Thread(target=submit_all)
    submitting.start()
    try:
        cluster.wait("some acknowledgements", lambda: len(acknowledged) >= 3)
        cluster.kill("first")
        seconds = cluster.wait("the second one leads", lambda: cluster.leader() == "second")
        record_property("failover_seconds", seconds)
        print(f"failover after kill -9: {seconds:.2f} s")
        count = len(acknowledged)
        cluster.wait("more acknowledgements", lambda: len(acknowledged) >= count + 3)
    finally:
        enough.set()
        submitting.join(60)
    entries = cluster.audit().entries
    assert {receipt.index: entries[receipt.index] for receipt in acknowledged.values()} == {
        receipt.index: receipt.leaf for receipt in acknowledged.values()
    }
    with cluster.client("second") as client:
        recorded = {each.id: each.name for each in client.submissions("dataset")}
        assert {
            Leaf.decode(receipt.leaf).id: name for name, receipt in acknowledged.items()
        }.items() <= recorded.items()
        for name, receipt in acknowledged.items():
            assert cluster.receipt_of(client, name).leaf == receipt.leaf


def test_a_leader_that_was_stopped_and_wakes_up_does_not_write(cluster: Cluster) -> None:
    """SIGSTOP: it keeps its connections and its lock, so the others must end it; SIGCONT: it must notice and end itself."""
    cluster.start("first")
    with cluster.client("first") as client:
        cluster.submit(client, "before-the-stop")
    head = cluster.audit().head
    stopped = cluster.running["second"]
    stopped.send_signal(signal.SIGSTOP)
    late: list[object] = []

    def call_the_stopped() -> None:
        with cluster.client("second") as client:
            try:
                late.append(cluster.submit(client, "to-the-stopped"))
            except Problem as problem:
                late.append(problem)

    calling = threading.Thread(target=call_the_stopped)
    calling.start()
    seconds = cluster.wait("the first one leads", lambda: cluster.leader() == "first")
    print(f"failover after SIGSTOP: {seconds:.2f} s")
    with cluster.client("first") as client:
        index = cluster.submit(client, "while-it-is-stopped")
    between = cluster.audit(head).head
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(30) == 1
    cluster.running.pop("second")
    calling.join(120)
    after = cluster.audit(between)
    assert len(after.entries) == between.size
    assert index == between.size - 1
    assert isinstance(late[0], Unavailable)
    assert "no longer leads" in (cluster.directory / "second.log").read_text().replace("\n", " ")


def test_the_one_that_left_comes_back_as_a_follower(cluster: Cluster) -> None:
    cluster.start("second")
    with cluster.client("second") as client:
        index = cluster.submit(client, "after-all")
        assert client.head().size == index + 1
    assert cluster.leader() == "first"


def test_the_leader_purges_from_the_bucket_what_nobody_anywhere_counts_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submissions are opened at the other process: what that told a member that it has, stays."""
    for name, value in cluster.s3.items():
        monkeypatch.setenv(name, value)
    with cluster.client("second") as client:
        for name in ("gone", "kept"):
            cluster.submit(client, name)
        found = {each.name: each for each in client.submissions("dataset")}
        gone, kept = (found[name].files[0].digest for name in ("gone", "kept"))
        statement = client.sign(dataset(client, cluster.packed["kept"], name="the-same-again"))
        opened = SubmissionsStub(client.channel).Open(statement, timeout=30)
        assert list(opened.missing) == []
        cluster.age()
        for name in ("gone", "kept"):
            claim = Withdrawal(hub=client.identity.hub, signer=client.identity.id, submission=found[name].id)
            client.withdraw(client.sign(claim))
        cluster.wait("the purges", lambda: client.submission(found["kept"].id).state == "purged")
        cluster.wait("the deletion", lambda: not cluster.in_the_bucket(gone))
        assert cluster.in_the_bucket(kept)
        again = client.submit(statement, cluster.packed["kept"].sources, lambda count: None)
        assert client.submission(again.id).state == "accepted"
        assert client.blob(kept) == cluster.packed["kept"].sources[Digest(kept)].path.read_bytes()
