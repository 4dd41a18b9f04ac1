"""The database is a cache: thrown away and rebuilt from ledger and blobs it says the same, line by line."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from hub import setup
from hub.blobs import BlobStore
from hub.database import Database
from hub.dump import NOT_FACTS, dump, projected_tables
from hub.evaluation import store
from hub.models import registry
from hub.rebuild import rebuild
from hub.settings import Settings
from protos.documents.base import rfc3339
from protos.documents.members import Delegation, Keys, Node, Revocation
from protos.documents.models import Release
from protos.documents.runs import Checkpoint, Run, RunEnd, Stop
from protos.documents.statements import HUB, sign
from protos.documents.submissions import Dataset, Purge, Suite, Withdrawal
from protos.documents.witnesses import Witness, WitnessPolicy
from tests.dashboards import history
from trust.digests import Digest
from trust.errors import Problem
from trust.keys import ArtifactKey, WitnessKey


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A hub with a full history: something of every kind of statement, so that every table has rows."""
    made = setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)
    url = "" if database_url.startswith("sqlite") else database_url
    settings = made.model_copy(update={"database": url})
    history.fill(settings)
    fill_the_rest(settings)
    return settings


def fill_the_rest(settings: Settings) -> None:
    """What a run and a campaign leave out: keys and delegates, nodes, withdrawals, checkpoints, releases, witnesses."""
    more = history.History(settings)
    for member, role in (("second-core", "core"), ("late-house", "contributor"), ("lost-house", "contributor")):
        more.enrol(member, role)
    late, core = ({"hub": more.hub, "signer": member} for member in ("late-house", "second-core"))
    ours = {"hub": more.hub, "signer": HUB}
    more.record(Node(**ours, node="node-1", organisation="Second Core"))

    withdrawn = more.dataset("late-house", "law")
    more.record(Withdrawal(**late, submission=withdrawn))
    line = more.file("late.jsonl", b'{"text": "to be purged"}')
    gone = more.record(
        Dataset.model_validate(
            {
                "name": "gone",
                "domain": "law",
                "licence": "CC-BY-4.0",
                "provenance": "for a test",
                "rows": 1,
                **late,
                "files": [{**line.model_dump(), "rows": 1}],
            }
        )
    )
    more.record(Withdrawal(**late, submission=gone))
    more.record(Purge(**ours, submission=gone, blobs=(line.digest,)))

    run = more.record(Run(**core, spec=more.spec("small")))
    weights = more.file("weights.safetensors", b"weights")
    more.record(Checkpoint(**ours, run=run, attempt=1, step=5, loss=3.5, weights=weights, shards=(), nodes=("node-1",)))
    more.record(Stop(**core, target=run))
    more.record(RunEnd(**ours, run=run, outcome="cancelled", reason="asked to stop"))
    bundle = more.file("model.sig", b"{}")
    more.record(Release(**core, version="1.0", model="tiny-1", files=(weights,), bundle=bundle.digest))

    for member in ("late-house", "lost-house"):
        more.record(Witness.of(more.hub, member, WitnessKey.generate(f"{more.hub}/{member}")))
    more.record(WitnessPolicy(**core, quorum=1))
    index = more.base.journal.size
    more.record(Revocation(**core, member="lost-house", compromised_since=index, reason="for a test"))

    robot, new, old = ArtifactKey.generate(), ArtifactKey.generate(), more.keys["late-house"]
    until, pem = rfc3339(datetime.now(UTC) + timedelta(days=1)), robot.public.pem().decode()
    delegation = Delegation(**late, name="robot", key=pem, kinds=("dataset",), budget=3, expires_at=until)
    more.base.journal.record(sign(delegation, old, robot), "late-house")
    keys = Keys(**late, version=2, keys=(new.public.pem().decode(),))
    more.base.journal.record(sign(keys, old, new), "late-house")
    more.close()


def lines(settings: Settings) -> list[bytes]:
    with closing(Database(settings.database_url)) as database:
        return list(dump(database))


def tables(dumped: list[bytes]) -> set[str]:
    return {line.rpartition(b'"table": "')[2].partition(b'"')[0].decode() for line in dumped}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_is_rebuilt_equals_what_was_there(settings: Settings) -> None:
    before = lines(settings)
    assert tables(before) == {table.name for table in projected_tables()}
    entries = rebuild(settings)
    assert entries == len([line for line in before if b'"table": "ledger_entry"' in line])
    assert lines(settings) == before
    assert rebuild(settings) == entries
    assert lines(settings) == before


def test_the_log_of_a_sealed_suite_from_before_logs_were_sealed_lies_sealed_afterwards(settings: Settings) -> None:
    """Also when the hub died between sealing and deleting; a log that another suite's evaluation has too stays readable."""
    more = history.History(settings)
    more.enrol("exam-house", "contributor")
    files = (more.file("suite.json", b"{}"), more.file("a.jsonl", b"[]"))
    named = {"name": "exam", "version": "1", "domain": "law", "licence": "CC-BY-4.0", "visibility": "sealed"}
    suite = more.record(Suite.model_validate({"hub": more.hub, "signer": "exam-house", "files": files, **named}))
    with more.base.database.session() as session:
        more.payloads |= {model.id: Digest(model.payload) for model in registry.all_models(session)}
    for model, number in (("tiny-1", 7), ("tiny-1.1", 0)):
        more.evaluate(model, suite, number)
    with more.base.database.session() as session:
        own, shared = (Digest(evaluation.samples) for evaluation in store.recorded(session)[-2:])
    more.close()
    blobs = BlobStore(settings.blobs_dir, seal_key=settings.seal_key)
    log = blobs.read(own)
    rebuild(settings)
    assert (blobs.sealed(own), blobs.sealed(shared)) == (True, False)
    assert blobs.read(own) == log
    blobs.put(log)
    rebuild(settings)
    assert blobs.sealed(own)
    blobs.put(log)
    blobs.vault.place(own).unlink()
    settings.seal_key.write_bytes(b"no key")
    assert rebuild(settings) > 0, "a database is made anew also where nothing can be sealed"
    assert blobs.read(own) == log


def test_a_head_that_was_durable_and_not_yet_shown_counts(settings: Settings) -> None:
    """The hub died between `.head` and `checkpoint`, and its database has not seen the last entry."""
    shown = (settings.ledger_dir / "checkpoint").read_bytes()
    again = history.History(settings)
    again.enrol("late-comer", "viewer")
    entries = again.base.journal.size
    again.close()
    after = lines(settings)
    (settings.ledger_dir / "checkpoint").write_bytes(shown)
    assert rebuild(settings) == entries
    assert lines(settings) == after


def test_a_hub_goes_on_with_the_rebuilt_database(settings: Settings) -> None:
    entries = rebuild(settings)
    again = history.History(settings)
    again.enrol("late-comer", "viewer")
    assert again.base.journal.size == entries + 1
    again.close()


def test_a_database_full_of_garbage_is_no_hindrance(settings: Settings) -> None:
    if not settings.database_url.startswith("sqlite"):
        pytest.skip("a PostgreSQL database is not a file of ours")
    before = lines(settings)
    path = settings.directory / "database.sqlite"
    path.write_bytes(b"not a database at all" * 1000)
    rebuild(settings)
    assert lines(settings) == before
    assert not list(settings.directory.glob("database.sqlite.*"))


@pytest.mark.parametrize("damaged", ["envelope", "entry", "heads", "no ledger"])
def test_a_damaged_ledger_or_blob_leaves_the_old_database_as_it_was(settings: Settings, damaged: str) -> None:
    before = lines(settings)
    if damaged == "envelope":
        digest = next(line for line in before if b'"kind": "dataset"' in line).partition(b'"envelope": "sha256:')[2]
        name = digest[:64].decode()
        flip(settings.blobs_dir / "sha256" / name[:2] / name)
    elif damaged == "entry":
        bundles = [path for path in (settings.ledger_dir / "tile/entries").rglob("*") if path.is_file()]
        flip(max(bundles, key=lambda path: path.stat().st_size))
    elif damaged == "heads":
        for name in ("checkpoint", ".head"):
            flip(settings.ledger_dir / name)
    else:
        settings.ledger_dir.rename(settings.directory / "ledger-elsewhere")
    with pytest.raises(Problem):
        rebuild(settings)
    assert lines(settings) == before


def test_every_table_that_is_left_out_exists_and_says_why() -> None:
    assert NOT_FACTS.keys() <= SQLModel.metadata.tables.keys()
    assert all(NOT_FACTS.values())
