"""What a run holds is counted while it holds it, told by entries, and told once."""

from __future__ import annotations

import pytest
from sqlmodel import delete, select

from hub.training import projection, use
from hub.training.placement.shares import HALF_LIFE
from hub.training.tables import HoldingRow, UseRow
from protos.documents.base import moment
from protos.documents.runs import Checkpoint, Run, RunEnd
from protos.documents.statements import HUB
from protos.documents.submissions import Dataset, DatasetFile
from tests.hub.conftest import ORIGIN, Base
from tests.hub.training.test_scheduler import SPEC, TEXT


@pytest.fixture
def run(base: Base) -> str:
    """Of the member `core`, for no project of its own."""
    projection.register(base.journal)
    base.enrol("core", "core")
    file = DatasetFile(path="text.jsonl", digest=base.blobs.put(TEXT), size=len(TEXT), rows=1)
    described = {"name": "texts", "domain": "law", "licence": "MIT", "provenance": "a test", "rows": 1}
    base.record(Dataset.read({"hub": ORIGIN, "signer": "core", "files": (file,), **described}))
    return base.record(Run(hub=ORIGIN, signer="core", spec=SPEC)).id


def test_what_is_held_counts_at_once_and_what_an_entry_tells_is_not_counted_twice(base: Base, run: str) -> None:
    with base.database.session(writing=True) as session:
        use.hold(session, run, 4, 1000.0)
        use.hold(session, run, 0, 1100.0)
        use.hold(session, run, 2, 1200.0)
        assert use.untold(session, run, 1250.0) == 500
        assert use.usage(session, 1250.0).amounts == {"core": 500.0}
    weights = {"path": "weights.safetensors", "digest": base.blobs.put(b"weights"), "size": 7}
    saved = {
        "attempt": 1,
        "step": 10,
        "loss": 1.0,
        "weights": weights,
        "shards": (),
        "nodes": (),
        "rank_seconds": 400.0,
    }
    base.journal.sign_and_record(Checkpoint.read({"hub": ORIGIN, "signer": HUB, "run": run, **saved}))
    with base.database.session(writing=True) as session:
        assert use.untold(session, run, 1250.0) == 100
        session.exec(delete(UseRow))
    base.journal.sign_and_record(RunEnd(hub=ORIGIN, signer=HUB, run=run, outcome="failed", rank_seconds=450.0))
    with base.database.session(writing=True) as session:
        assert session.exec(select(HoldingRow)).all() == [], "the run has ended: what is left is dropped"
        (told,) = session.exec(select(UseRow)).all()
        assert (told.project, told.rank_seconds) == ("core", 450.0)
        later = moment(told.at).timestamp() + HALF_LIFE
        assert use.usage(session, later).amounts == {"core": 225.0}
