"""The ledger's leaves: one spelling each, a closed set of fields."""

from __future__ import annotations

import json

import pytest

from protos.documents.leaf import MAX_LEAF, Leaf
from trust.canonical import emit
from trust.errors import Corrupt

FIELDS = {
    "envelope": "sha256:" + "1" * 64,
    "id": "data-0123456789ab",
    "kind": "dataset",
    "payload": "sha256:" + "2" * 64,
    "signer": "law-institute",
    "time": "2026-11-23T12:00:00.000Z",
}


def test_a_leaf_is_canonical_json_of_its_fields() -> None:
    data = Leaf.read(FIELDS).encode()
    assert data == emit(FIELDS)
    assert Leaf.decode(data) == Leaf.read(FIELDS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        json.dumps(FIELDS).encode(),
        emit(FIELDS) + b" ",
        emit({**FIELDS, "note": "x"}),
        emit({key: value for key, value in FIELDS.items() if key != "time"}),
        emit({**FIELDS, "payload": "sha256:" + "A" * 64}),
        emit({**FIELDS, "id": "../up"}),
        emit({**FIELDS, "time": "x" * MAX_LEAF}),
    ],
)
def test_anything_else_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        Leaf.decode(data)
