"""Datasets and models in the ledger, as submissions and runs leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from protos.documents.base import FileEntry
from protos.documents.models import Contribution, DataUsed, Model
from protos.documents.statements import HUB
from protos.documents.submissions import Dataset, DatasetFile
from tests.hub.conftest import ORIGIN, Base
from trust.digests import digest_bytes

NOWHERE = digest_bytes(b"no statement")
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


def record_dataset(base: Base, member: str, name: str, licence: str = "CC-BY-4.0") -> DataUsed:
    """Somebody's dataset of one row, and how a model says that it used it."""
    shard = json.dumps({"text": f"{name} of {member}"}).encode() + b"\n"
    file = DatasetFile(path="data-00000.jsonl", digest=base.blobs.put(shard), size=len(shard), rows=1)
    entry = base.record(
        Dataset(
            hub=ORIGIN,
            signer=member,
            name=name,
            domain="law",
            licence=licence,
            provenance="own archive",
            rows=1,
            files=(file,),
        )
    )
    return DataUsed(dataset=entry.id, payload=entry.payload, member=member, licence=licence, tokens=1000)


def record_model(
    base: Base,
    model: str,
    files: Mapping[str, bytes] = FILES,
    *,
    parent: str | None = None,
    data: Sequence[DataUsed] = (),
    contributions: Sequence[Contribution] = (),
    payload: str = NOWHERE,
) -> None:
    """A model version: a run's, or a round's when it has a parent."""
    entries = tuple(FileEntry(path=path, digest=base.blobs.put(body), size=len(body)) for path, body in files.items())
    base.journal.sign_and_record(
        Model(
            hub=ORIGIN,
            signer=HUB,
            model=model,
            parent=parent,
            origin="round" if parent else "run",
            source="campaign-1" if parent else "run-1",
            payload=payload,
            round=1 if parent else 0,
            parameters=1234,
            architecture="llama",
            tokens=0 if parent else 5000,
            files=entries,
            data=tuple(data),
            contributions=tuple(contributions),
            code_version="0.1.0+test",
        )
    )


def contribution(member: str, excluded: str = "") -> Contribution:
    return Contribution(
        member=member, examples=100, weight=0.5, loss_first=3, loss_last=2, update_norm=1, excluded=excluded
    )
