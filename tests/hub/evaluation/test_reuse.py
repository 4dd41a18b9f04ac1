"""Which evaluations are the same work: by the bytes that go in and the tools, whatever model and suite are called."""

from __future__ import annotations

from hub.evaluation import reuse
from hub.ledger.entries import Entry
from protos.documents.base import FileEntry
from protos.documents.evaluations import Evaluation, TaskScore
from protos.documents.statements import HUB
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import payload, record_suite, suite_files
from tests.hub.models.conftest import record_model
from trust.digests import Digest, digest_bytes

SCORE = TaskScore(task="terms", metric="acc", value=0.5, standard_error=0.1, items=12)


def file(path: str, body: bytes = b"x") -> FileEntry:
    return FileEntry(path=path, digest=digest_bytes(body), size=len(body))


def test_the_order_of_files_is_no_part_of_it_and_all_else_is() -> None:
    model, suite = [file("config.json"), file("model.safetensors", b"w")], [file("suite.json")]
    work = reuse.work(model, suite, "lm-eval 1")
    assert work == reuse.work(model[::-1], suite, "lm-eval 1")
    others = [
        reuse.work([file("config.json"), file("model.safetensors", b"v")], suite, "lm-eval 1"),
        reuse.work(model, [file("suite.json", b"y")], "lm-eval 1"),
        reuse.work(model, [file("other.json")], "lm-eval 1"),
        reuse.work(suite, model, "lm-eval 1"),
        reuse.work(model, suite, "lm-eval 2"),
    ]
    assert len({work, *others}) == 6


def test_scores_are_found_again_by_their_work_and_failures_are_not(hub: Base) -> None:
    hub.enrol("law-institute")
    failed, done = [record_suite(hub, "law-institute", suite_files(name)) for name in ("one-exam", "two-exam")]
    record_model(hub, "tiny-1", {"config.json": b"{}"})
    _record(hub, failed, failure="no luck")
    entry = _record(hub, done)
    again = record_suite(hub, "law-institute", suite_files("two-exam"), version="2")
    assert again.id != done.id
    with hub.database.session() as session:
        found = reuse.done(session, _work(again))
        assert found is not None
        assert found.id == entry.id
        assert reuse.done(session, _work(failed)) is None


def test_what_one_node_said_counts_neither_for_the_hub_nor_for_another(hub: Base) -> None:
    """It could name the hub's own tools, and so make its numbers everybody's."""
    hub.enrol("law-institute")
    suite = record_suite(hub, "law-institute", suite_files())
    record_model(hub, "tiny-1", {"config.json": b"{}"})
    _record(hub, suite, node="node-1")
    with hub.database.session() as session:
        found = [reuse.done(session, _work(suite), node) is not None for node in ("", "node-2", "node-1")]
    assert found == [False, False, True]


def _work(suite: Entry) -> Digest:
    return reuse.work([file("config.json", b"{}")], suite.claim.files, "lm-eval 1")  # type: ignore[attr-defined]


def _record(hub: Base, suite: Entry, failure: str = "", node: str | None = None) -> Entry:
    return hub.journal.sign_and_record(
        Evaluation(
            hub=ORIGIN,
            signer=HUB,
            model="tiny-1",
            model_payload=payload("tiny-1"),
            suite=suite.id,
            suite_payload=suite.payload,
            harness="lm-eval 1",
            scores=() if failure else (SCORE,),
            failure=failure,
            samples=None if failure else hub.blobs.put(suite.id.encode()),
            seconds=1,
            node=node,
        )
    )
