"""A model as a Hugging Face folder: safetensors, config and tokenizer, with nothing in it that executes."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from learning.tokenizer import load_tokenizer, save_tokenizer
from trust.errors import Invalid, NotFound

disable_progress_bar()  # of weights that load in seconds, in the middle of whatever the caller prints
_ALLOWED = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|model\.safetensors\.index)\.json"
    r"|chat_template\.jinja"
    r"|model(-\d{5}-of-\d{5})?\.safetensors"
)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path) -> list[Path]:
    """Write the folder that `transformers` and vLLM load; equal models give equal bytes. Returns `model_files`."""
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(str(directory))
    save_tokenizer(tokenizer, directory)
    return model_files(directory)


def model_files(directory: Path) -> list[Path]:
    """The files that make up the model in `directory`, sorted by name; anything else there is no part of it.

    Raises `NotFound` where configuration, tokenizer or weights are absent, `Invalid` where a file is a link.
    """
    if not directory.is_dir():
        raise NotFound(f"{directory} is no folder.", "Name the folder of an exported model.")
    files = sorted(path for path in directory.iterdir() if _ALLOWED.fullmatch(path.name))
    for path in files:
        if path.is_symlink() or not path.is_file():
            raise Invalid(f"{path} is no plain file.", "Copy the file itself into the folder.", field=path.name)
    names = {path.name for path in files}
    missing = [name for name in ("config.json", "tokenizer.json") if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("model.safetensors")
    if missing:
        raise NotFound(f"The model folder {directory} lacks {', '.join(missing)}.", "Export the model again.")
    return files


def outline(directory: Path) -> PreTrainedModel:
    """The model in `directory` without its weights, each of which reads as zeros and has no memory. What an adapter begins with
    depends on nothing else. Raises `NotFound` or `Invalid`."""
    model_files(directory)
    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise Invalid(f"The model in {directory} cannot be read: {error}", "Export the model again.") from error
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, torch.nn.Parameter(torch.zeros(()).expand(parameter.shape)))
    return model.eval()


def load_model(directory: Path, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model, in evaluation mode and `dtype` (fp32 or bf16), and its tokenizer.

    Reads safetensors only and runs no code from the folder. Raises `NotFound` or `Invalid` for a folder that is
    incomplete, malformed, or whose weights do not fit its configuration exactly.
    """
    model_files(directory)
    if dtype not in (torch.float32, torch.bfloat16):
        raise Invalid(f"Models load as float32 or bfloat16, not {dtype}.", "Choose one of the two.", field="dtype")
    tokenizer = load_tokenizer(directory)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(directory),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise Invalid(f"The model in {directory} cannot be read: {error}", "Export the model again.") from error
    wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info.get(kind) or ()]
    if wrong:
        raise Invalid(
            f"The weights in {directory} do not fit its config.json, first at {wrong[0]}.", "Export the model again."
        )
    return model.eval(), tokenizer
