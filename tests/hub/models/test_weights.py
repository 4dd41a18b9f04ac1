"""Parameters counted from headers, whatever a peer sent as weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hub.models.weights import parameter_count
from trust.errors import Invalid


def test_counts_every_tensor_of_every_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "one.safetensors", metadata={"format": "pt"})
    save_file({"c": torch.zeros(())}, tmp_path / "two.safetensors")
    assert parameter_count([tmp_path / "one.safetensors", tmp_path / "two.safetensors"]) == 18


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (1 << 40).to_bytes(8, "little"),
        (5).to_bytes(8, "little") + b"nope!",
        (9).to_bytes(8, "little") + b'{"a":"b"}',
        (18).to_bytes(8, "little") + b'{"a":{"shape":"x"}',
    ],
)
def test_what_is_not_safetensors_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(Invalid, match=r"model\.safetensors"):
        parameter_count([path])
