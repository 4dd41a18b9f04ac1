from __future__ import annotations

from typing import Any

import pytest

from learning.architectures import build_model
from learning.muon import muon_groups
from learning.planning.census import census
from tests.learning.test_architectures import FAMILIES
from tests.shapes import llama


@pytest.mark.parametrize("tied", [True, False])
def test_the_count_is_that_of_the_built_model(tied: bool) -> None:
    shape = llama(320, 32, 64, 2, 4, 2, 64, tie_embeddings=tied)
    counted = census(shape)
    assert counted.total == counted.active == sum(p.numel() for p in build_model(shape, 0).parameters())
    assert counted.embeddings == 320 * 32 * (1 if tied else 2)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
def test_every_family_is_counted(family: Any) -> None:
    counted, model = census(family.hugging_face()), build_model(family.hugging_face(), 0)
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert counted.matrices == sum(
        p.numel() for group in muon_groups(model, 0.1) if group["shapes"] for p in group["params"]
    )
    picked = 2 / 4  # two of four experts see a token
    assert counted.active == counted.total - counted.experts * (1 - picked)


def test_a_model_too_large_for_this_machine_is_counted() -> None:
    assert census(llama(128256, 8192, 28672, 80, 64, 8, 8192, tie_embeddings=False)).total == 70_553_706_496
