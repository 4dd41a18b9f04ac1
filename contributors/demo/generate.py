"""Loads a release with plain `transformers` and lets it write: `python -m contributors.demo.generate DIR`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROMPTS = ("Abnormality of the", "This software is provided", "Return the")
NEW_TOKENS = 24


def main(folder: Path) -> None:
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
        written = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        print(" ".join(tokenizer.decode(written[0], skip_special_tokens=True).split()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
