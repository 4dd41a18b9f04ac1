from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from learning.export import load_model, model_files, save_model
from trust.errors import Invalid, NotFound

INPUTS = torch.arange(20).reshape(2, 10)


@pytest.fixture
def folder(tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Path:
    save_model(model, tokenizer, tmp_path / "m")
    return tmp_path / "m"


def test_the_model_comes_back(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, words = load_model(folder)
    assert torch.equal(loaded(INPUTS).logits, model(INPUTS).logits)
    assert words("some text 数").input_ids == tokenizer("some text 数").input_ids
    half, _ = load_model(folder, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_the_public_way_loads_it_too(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(loaded(INPUTS).logits, model(INPUTS).logits)
    words = AutoTokenizer.from_pretrained(folder)
    assert words("Größe: some text").input_ids == tokenizer("Größe: some text").input_ids
    assert loaded.generation_config.eos_token_id == 0


def test_equal_models_give_equal_bytes(
    tmp_path: Path, folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    again = save_model(model, tokenizer, tmp_path / "again")
    reloaded = save_model(*load_model(folder), tmp_path / "reloaded")
    files = {path.name: path.read_bytes() for path in model_files(folder)}
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {path.name: path.read_bytes() for path in again} == files
    assert {path.name: path.read_bytes() for path in reloaded} == files
    assert str(tmp_path).encode() not in b"".join(files.values())


def test_only_the_model_counts_as_the_model(folder: Path) -> None:
    before = model_files(folder)
    (folder / "modeling_llama.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert model_files(folder) == before == sorted(before)
    (folder / "chat_template.jinja").symlink_to("/etc/passwd")
    with pytest.raises(Invalid):
        model_files(folder)


def test_incomplete_folders_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFound):
        model_files(tmp_path / "nowhere")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(NotFound, match=r"model\.safetensors"):
        load_model(folder)


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for wrong in (
        {name: tensor for name, tensor in weights.items() if "norm" not in name},
        {**weights, "extra": torch.zeros(1)},
        {**weights, "model.norm.weight": torch.zeros(3)},
    ):
        save_file(wrong, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(Invalid):
            load_model(folder)


def test_code_and_broken_bytes_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(
            {**config, "model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
        )
    )
    (folder / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(Invalid):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\x80\x04junk")
    with pytest.raises(Invalid):
        load_model(folder)
