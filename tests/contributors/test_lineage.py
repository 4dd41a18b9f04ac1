"""Statements of a ledger fit together or not, whatever hub wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from contributors.ledger import Recorded
from contributors.lineage import check_lineage, weighed
from protos.documents.base import Claim, FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.leaf import Leaf
from protos.documents.methods import Buffer, LocalTraining, Quality
from protos.documents.models import Contribution, Import, Model
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


BUFFER = {"averaging": "products", "buffer": Buffer(updates=1, most_late=3)}


@pytest.mark.parametrize(
    ("spec", "parts", "holds"),
    [
        ({}, [{"weight": 0.5}, {"weight": 0.5}], True),
        ({}, [{"weight": 0.4}, {"weight": 0.6}], False),
        ({}, [], False),
        ({"weighting": "examples"}, [{"weight": 0.25, "examples": 1}, {"weight": 0.75, "examples": 3}], True),
        (
            {"weighting": "examples", "maximum_share": 0.5},
            [{"weight": 0.5, "examples": 1}, {"weight": 0.5, "examples": 3}],
            True,
        ),
        (
            {"weighting": "quality", "quality": Quality(dataset="data-1")},
            [{"weight": 0.25, "quality": 0.5}, {"weight": 0.75, "quality": 1.5}],
            True,
        ),
        (BUFFER, [{"weight": 0.5}, {"weight": 0.25, "late": 3}], True),
        (BUFFER, [{"weight": 0.5}, {"weight": 0.5, "late": 3}], False),
        (BUFFER, [{"weight": 0.5}, {"weight": 0.5 * 5**-0.5, "late": 4}], False),
        ({}, [{"weight": 0.5}, {"weight": 0.5, "late": 1}], False),
    ],
)
def test_a_rounds_weights_follow_from_its_spec(spec: dict[str, Any], parts: list[dict[str, Any]], holds: bool) -> None:
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 9, "minimum_members": 2, "training": training}
    said = {"examples": 2, "loss_first": 2, "loss_last": 1, "update_norm": 1}
    counted = [Contribution.read({"member": f"m{number}", **said, **part}) for number, part in enumerate(parts)]
    assert weighed(CampaignSpec.read({**given, **spec}), counted) == holds
