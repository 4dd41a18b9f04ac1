"""Which text a campaign may measure updates by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.rounds import heldout, projection
from protos.documents.campaigns import Campaign, CampaignSpec
from protos.documents.methods import LocalTraining, Quality
from protos.documents.submissions import Dataset, Withdrawal
from tests.hub.rounds.test_projection import ORIGIN, model
from trust.errors import Invalid, NotFound

TEXT = b"Whoever reads this can check what was measured with it."


@pytest.fixture
def ledger(base: Any) -> Any:
    """With a base model, the core team, and the text among the hub's blobs."""
    projection.register(base.journal)
    base.enrol("core", "core")
    base.enrol("law")
    base.journal.sign_and_record(model("tiny-1", None, origin="run", source="run-0", round=0))
    return base


def dataset(base: Any, category: str, folder: Path) -> str:
    (folder / "text.txt").write_bytes(TEXT)
    digest = base.blobs.put_file(folder / "text.txt")
    file = {"path": "text.txt", "digest": digest, "size": len(TEXT), "rows": 1}
    described = {"name": category, "domain": "law", "licence": "CC-BY-4.0", "provenance": "a test"}
    claim = {"hub": ORIGIN, "signer": "law", "rows": 1, "files": [file], **described, "category": category}
    return str(base.record(Dataset.read(claim)).id)


def opened(base: Any, dataset: str) -> str:
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=2,
        minimum_members=1,
        training=training,
        quality=Quality(dataset=dataset),
    )
    return str(base.record(Campaign(hub=ORIGIN, signer="core", spec=spec)).id)


def test_a_campaign_measures_by_open_text_that_stands(ledger: Any, tmp_path: Path) -> None:
    found = dataset(ledger, "open", tmp_path)
    opened(ledger, found)
    with ledger.database.session() as session:
        accepted = heldout.held_out(session, Quality(dataset=found))
    heldout.lay_out(accepted, ledger.blobs, tmp_path)
    assert list(heldout.texts(tmp_path)) == [TEXT.decode()]
    ledger.record(Withdrawal(hub=ORIGIN, signer="law", submission=found))
    with ledger.database.session() as session, pytest.raises(Invalid, match="withdrawn"):
        heldout.held_out(session, Quality(dataset=found))


def test_not_by_text_that_members_may_not_read_nor_by_one_that_is_unknown(ledger: Any, tmp_path: Path) -> None:
    for category in ("controlled", "private"):
        with pytest.raises(Invalid, match=f"is {category}: members could not check"):
            opened(ledger, dataset(ledger, category, tmp_path))
    with pytest.raises(NotFound, match="no accepted dataset"):
        opened(ledger, "data-0123456789ab")
