from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from protos.formats.recognition import recognise
from protos.formats.safetensors import header


def test_a_real_file_is_read_as_its_library_wrote_it(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16), "empty": torch.zeros(0, 5)}
    save_file(tensors, tmp_path / "x", metadata={"format": "pt"})
    found = header(tmp_path / "x", "x")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("BF16", (4,)),
        "empty": ("F32", (0, 5)),
    }
    assert sum(tensor.elements for tensor in found.values()) == 10
    assert recognise(tmp_path / "x", "x") == "safetensors"
