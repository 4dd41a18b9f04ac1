"""A copy is the whole state, however it was cut, and nothing else passes for one. `test_worker` has it made and used by ranks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import HashStore, destroy_process_group, init_process_group

from hub.training import copies
from trust.errors import Invalid

COURSE = {"skips": [[3, 4]], "losses": [2.0]}


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    destroy_process_group()


def engine(seed: int, steps: int) -> Any:
    """A model with a buffer that was trained a little; DeepSpeed's engine looks so where it shards nothing."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
    return SimpleNamespace(module=model, optimizer=optimizer, train_batch_size=lambda: 8, global_steps=0)


def step(trained: Any) -> dict[str, torch.Tensor]:
    """The model after one more."""
    torch.manual_seed(7)
    trained.optimizer.zero_grad()
    trained.module(torch.randn(8, 6)).square().sum().backward()
    trained.optimizer.step()
    return dict(trained.module.state_dict())


@pytest.fixture
def cut(tmp_path: Path) -> list[Path]:
    """A state of step 5 in two pieces: a matrix and its moments are cut in the middle."""
    whole = tmp_path / "whole"
    copies.piece(engine(1, 5), 5, COURSE).write(whole)
    tensors = load_file(whole)
    parts: list[dict[str, torch.Tensor]] = [{}, {}]
    for name, tensor in tensors.items():
        if name.endswith("/0.weight"):
            parts[0][name], parts[1]["11" + name[1:]] = tensor[:11].clone(), tensor[11:].clone()
        else:
            parts[0][name] = tensor
    return [written(tmp_path / f"piece-{number}", part) for number, part in enumerate(parts)]


def written(path: Path, tensors: dict[str, torch.Tensor], **said: Any) -> Path:
    save_file(tensors, path, {"said": json.dumps({"step": 5, "updates": 5, "course": COURSE} | said)})
    return path


def test_whoever_goes_on_from_a_copy_takes_the_very_steps_of_who_made_it(cut: list[Path]) -> None:
    made, other = engine(1, 5), engine(2, 0)
    assert copies.restore(other, 5, cut) == COURSE
    assert other.global_steps == 5
    after = step(made)
    for name, tensor in step(other).items():
        assert torch.equal(tensor, after[name]), name


def without(path: Path, name: str) -> Path:
    tensors = load_file(path)
    del tensors[name]
    return written(path, tensors)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda first, second: [first], "has 11 elements, not 24"),
        (lambda first, second: [second], "do not join at 0"),
        (lambda first, second: [first, second, second], "do not join at 24"),
        (lambda first, second: [without(first, "0/exp_avg/1.bias"), second], "of 1.bias there is only"),
        (lambda first, second: [], "pieces are of different steps"),
        (lambda first, second: [first, written(second, load_file(second), step=6)], "pieces are of different steps"),
        (lambda first, second: [first, written(second, {"weight": torch.zeros(1)})], "a tensor is called"),
        (lambda first, second: [first, written(second, {"0/buffer/1.running_var": torch.zeros(9)})], "copy of step 5"),
        (lambda first, second: [first, Path(second.write_bytes(b"pickle") and second)], "cannot be read"),
    ],
)
def test_what_is_not_the_whole_state_is_refused(cut: list[Path], wrong: Any, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        copies.restore(engine(2, 0), 5, wrong(*cut))


def test_a_copy_of_another_step_is_refused(cut: list[Path]) -> None:
    with pytest.raises(Invalid, match="not of step 6"):
        copies.restore(engine(2, 0), 6, cut)
