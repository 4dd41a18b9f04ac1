"""Runs in the ledger: what is refused, and that the tables are its image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.database import Database
from hub.submissions import catalogue
from hub.training import projection, store
from hub.training.inputs import inputs
from hub.training.states import Work
from protos.documents.base import FileEntry
from protos.documents.runs import Checkpoint, Run, RunEnd, RunSpec, Stop
from protos.documents.statements import HUB
from protos.documents.submissions import Dataset, DatasetFile, Withdrawal
from tests.hub.conftest import ORIGIN, Base
from tests.hub.training.test_scheduler import SPEC
from trust.digests import digest_bytes
from trust.errors import Conflict, Invalid, NotFound

SHARD = digest_bytes(b"shard")


@pytest.fixture
def ledger(base: Base) -> Base:
    projection.register(base.journal)
    base.enrol("core", "core")
    return base


def submit(base: Base) -> None:
    file = DatasetFile(path="text.jsonl", digest=base.blobs.put(b"{}\n"), size=3, rows=1)
    described = {"name": "texts", "domain": "law", "licence": "MIT", "provenance": "a test", "rows": 1}
    base.record(Dataset.read({"hub": ORIGIN, "signer": "core", "files": (file,), **described}))


def launch(base: Base, spec: RunSpec = SPEC) -> str:
    return base.record(Run(hub=ORIGIN, signer="core", spec=spec)).id


def checkpoint(run: str, step: int, attempt: int, nodes: tuple[str, ...]) -> Checkpoint:
    weights = FileEntry(path="weights", digest=digest_bytes(b"%d" % step), size=1)
    shards = (SHARD,) * len(nodes)
    values = {"run": run, "attempt": attempt, "step": step, "loss": 1.0, "weights": weights}
    return Checkpoint.read({"hub": ORIGIN, "signer": HUB, "shards": shards, "nodes": nodes, **values})


def end(run: str) -> RunEnd:
    return RunEnd(hub=ORIGIN, signer=HUB, run=run, outcome="failed", reason="a test")


def work(base: Base, run: str) -> Work:
    with base.database.session() as session:
        return store.load_work(session, run)


def test_a_run_without_data_is_refused(ledger: Base) -> None:
    with pytest.raises(Invalid, match="no dataset"):
        launch(ledger)
    submit(ledger)
    unknown = SPEC.model_copy(update={"data": SPEC.data.model_copy(update={"datasets": ("dataset-unknown",)})})
    with pytest.raises(NotFound, match="There is no accepted dataset dataset-unknown"):
        launch(ledger, unknown)


def test_a_dataset_that_was_withdrawn_is_refused_by_its_name_and_left_out_where_none_is_named(ledger: Base) -> None:
    submit(ledger)
    with ledger.database.session() as session:
        (dataset,) = catalogue.datasets(session)
    ledger.record(Withdrawal(hub=ORIGIN, signer="core", submission=dataset.id))
    with pytest.raises(Invalid, match=rf"^{dataset.id} was withdrawn or quarantined\.$"):
        launch(ledger, spec(data={"datasets": (dataset.id,)}))
    with pytest.raises(Invalid, match="There is no dataset to train on"):
        launch(ledger)


def test_a_stop_needs_a_run_that_goes_on(ledger: Base) -> None:
    submit(ledger)
    with pytest.raises(NotFound):
        ledger.record(Stop(hub=ORIGIN, signer="core", target="run-unknown"))
    run = launch(ledger)
    ledger.journal.sign_and_record(end(run))
    with pytest.raises(Conflict, match="failed already"):
        ledger.record(Stop(hub=ORIGIN, signer="core", target=run))


def test_a_run_ends_once(ledger: Base) -> None:
    submit(ledger)
    run = launch(ledger)
    ledger.journal.sign_and_record(end(run))
    with pytest.raises(Conflict, match="ended already"):
        ledger.journal.sign_and_record(end(run).model_copy(update={"reason": "another"}))


def test_work_resumes_from_the_checkpoint_of_the_newest_attempt(ledger: Base) -> None:
    submit(ledger)
    run = launch(ledger)
    for claim in (
        checkpoint(run, 10, 1, ("node-a", "node-b")),
        checkpoint(run, 20, 1, ("node-a", "node-b")),
        checkpoint(run, 10, 3, ("node-c", "node-d")),
    ):
        ledger.journal.sign_and_record(claim)
    found = work(ledger, run)
    assert (found.registered, found.registered_on, found.furthest, found.attempt) == (10, ("node-c", "node-d"), 20, 3)


def test_an_attempt_that_started_over_elsewhere_does_not_resume_from_others_shards(ledger: Base) -> None:
    submit(ledger)
    run = launch(ledger)
    ledger.journal.sign_and_record(checkpoint(run, 20, 1, ("node-a", "node-b")))
    with ledger.database.session(writing=True) as session:
        store.save_work(session, Work(run, "preparing", attempt=2, nodes=("node-c", "node-d")))
    found = work(ledger, run)
    assert (found.registered, found.furthest, found.attempt) == (0, 20, 2)


def test_an_empty_database_is_filled_again_from_the_ledger(
    ledger: Base, reopen: Callable[[Database], Base], tmp_path: Path
) -> None:
    submit(ledger)
    run, ended = launch(ledger), launch(ledger, SPEC.model_copy(update={"name": "second"}))
    ledger.journal.sign_and_record(checkpoint(run, 10, 2, ("node-a", "node-b")))
    ledger.journal.sign_and_record(end(ended))
    ledger.journal.stop()
    other = reopen(_empty(tmp_path))
    projection.register(other.journal)
    other.journal.start()
    with ledger.database.session() as before, other.database.session() as after:
        assert store.all_runs(after) == store.all_runs(before)
        assert store.checkpoints(after, run) == store.checkpoints(before, run)
        assert [row.id for row in store.unfinished(after)] == [run]
    assert work(other, run).attempt == 2


def _empty(directory: Path) -> Database:
    database = Database(f"sqlite:///{directory / 'again.sqlite'}")
    database.migrate()
    return database


def spec(**changes: object) -> RunSpec:
    return RunSpec.read(SPEC.model_dump() | changes)


def test_weights_and_datasets_that_do_not_agree_are_refused_before_anything_starts(ledger: Base) -> None:
    submit(ledger)
    with ledger.database.session() as session:
        (law,) = catalogue.datasets(session)
    with pytest.raises(Invalid, match="No accepted dataset is of the domain code"):
        launch(ledger, spec(data={"weights": {"law": 1.0, "code": 1.0}}))
    file = DatasetFile(path="text.jsonl", digest=ledger.blobs.put(b"{ }\n"), size=4, rows=1)
    described = {"name": "code", "domain": "code", "licence": "MIT", "provenance": "a test", "rows": 1}
    code = ledger.record(Dataset.read({"hub": ORIGIN, "signer": "core", "files": (file,), **described})).id
    with pytest.raises(Invalid, match=f"{law.id} is of the domain law, which has no weight"):
        launch(ledger, spec(data={"datasets": (law.id, code), "weights": {"code": 1.0}}))
    run = launch(ledger, spec(data={"weights": {"code": 1.0}}))
    with ledger.database.session() as session:
        row = store.get(session, run)
        assert [dataset.id for dataset in inputs(session, RunSpec.read(row.spec), row.index)] == [code]
