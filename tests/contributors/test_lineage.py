"""Statements of a ledger fit together or not, whatever hub wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from contributors.ledger import Recorded
from contributors.lineage import check_lineage
from protos.documents.base import Claim, FileEntry
from protos.documents.leaf import Leaf
from protos.documents.models import Import, Model
from protos.documents.statements import HUB, read, sign
from tests.hub.ledger.test_journal import colliding
from trust.digests import digest_bytes
from trust.keys import ArtifactKey


def test_two_entries_that_are_called_the_same_are_named() -> None:
    """A hub that lets both in could let one be taken for the other: forty-eight bits are found anew within a minute."""
    recorded = [_recorded(index, colliding(number)) for index, number in enumerate((24_209_973, 33_494_506))]
    assert recorded[0].leaf.id == recorded[1].leaf.id
    assert check_lineage(recorded) == [(1, "another entry is called data-db0421967b34, as entry 0 is.")]


FILES = tuple(
    FileEntry(path=name, digest=digest_bytes(name.encode()), size=9) for name in ("config.json", "w.safetensors")
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"files": FILES[:1]}, "its files are others than"),
        ({"tokens": 5}, "has no parent, no contributions, no round and no data"),
        ({"payload": FILES[0].digest}, "with another content"),
        ({"origin": "run"}, "which is not recorded before it"),
    ],
)
def test_a_model_that_was_taken_in_is_what_its_import_names(changes: dict[str, Any], why: str) -> None:
    by_hub = {"hub": "europe", "signer": HUB}
    source = _recorded(0, Import(**by_hub, name="small", licence="MIT", provenance="Others", files=FILES))
    made = {"origin": "import", "source": source.leaf.id, "payload": source.leaf.payload, "files": FILES} | changes
    model = Model.model_validate(
        {**by_hub, **made, "model": "small-1", "parameters": 1, "architecture": "Llama", "code_version": "1"}
    )
    found = check_lineage([source, _recorded(1, model)])
    assert [why in what for _, what in found] == [True] * bool(why)


def test_an_import_makes_one_model() -> None:
    by_hub = {"hub": "europe", "signer": HUB}
    source = _recorded(0, Import(**by_hub, name="small", licence="MIT", provenance="Others", files=FILES))
    made = {"origin": "import", "source": source.leaf.id, "payload": source.leaf.payload, "files": FILES}
    models = [
        Model.model_validate(
            {**by_hub, **made, "model": name, "parameters": 1, "architecture": "Llama", "code_version": "1"}
        )
        for name in ("small-1", "small-2")
    ]
    found = check_lineage([source, _recorded(1, models[0]), _recorded(2, models[1])])
    assert found == [(2, f"{source.leaf.id} has made small-1 already.")]


def _recorded(index: int, claim: Claim) -> Recorded:
    envelope = sign(claim, ArtifactKey.generate())
    claimed = read(envelope)
    leaf = Leaf(
        envelope=digest_bytes(envelope),
        id=claimed.id,
        kind=claimed.kind,
        payload=claimed.payload,
        signer=claim.signer,
        time="2026-01-01T00:00:00.000Z",
    )
    return Recorded(index, leaf, claimed.claim)
