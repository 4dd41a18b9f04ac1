"""A campaign of experts is opened on a model that has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.blobs import BlobStore
from hub.rounds.routed import check_experts
from learning.architectures import configuration
from protos.documents.base import FileEntry
from protos.documents.methods import Experts
from tests.shapes import ROUTED, llama
from trust.errors import Invalid


def files(blobs: BlobStore, config: dict[str, Any]) -> list[FileEntry]:
    data = json.dumps(config).encode()
    return [FileEntry(path="config.json", digest=blobs.put(data), size=len(data))]


@pytest.mark.parametrize("family", sorted(ROUTED))
def test_every_familys_own_configuration_says_how_many_there_are(blobs: BlobStore, family: str) -> None:
    model = files(blobs, configuration(ROUTED[family][0].hugging_face()).to_dict())
    check_experts(Experts(common=(0, 3)), "base-1", model, blobs)
    check_experts(Experts(own={"law": (0,), "medicine": (3,)}), "base-1", model, blobs)
    with pytest.raises(Invalid, match="base-1 has experts 0 to 3, and no 4"):
        check_experts(Experts(own={"law": (0,), "medicine": (4,)}), "base-1", model, blobs)


def test_a_dense_model_is_refused(blobs: BlobStore) -> None:
    model = files(blobs, configuration(llama(512, 32, 64, 1, 2, 2, 64)).to_dict())
    with pytest.raises(Invalid, match="base-1 is a dense model"):
        check_experts(Experts(common=(0,)), "base-1", model, blobs)


@pytest.fixture
def blobs(tmp_path: Any) -> BlobStore:
    return BlobStore(tmp_path)
