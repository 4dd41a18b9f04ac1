"""Byte-level BPE: any text in, no unknown token, and the same text out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trust.errors import Invalid

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
SMALLEST_VOCABULARY = 257  # 256 bytes and the end-of-text token
_DOCUMENTS_AT_ONCE = 512


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn merges from `texts`; the same texts give the same tokenizer.

    `vocab_size` is an upper bound: a small corpus may hold fewer distinct pairs. Token 0 is `END_OF_TEXT` and serves as
    beginning, end and padding. Raises `Invalid` for a vocabulary that cannot hold every byte.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise Invalid(
            f"A byte-level vocabulary of {vocab_size} cannot hold every byte.",
            f"Ask for at least {SMALLEST_VOCABULARY}.",
            field="vocab_size",
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json as `AutoTokenizer` of transformers 4 and 5 reads them."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(directory))
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"  # transformers 5 writes a class name that 4 does not know
    for runtime_only in ("is_local", "local_files_only", "backend"):
        config.pop(runtime_only, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Read what `save_tokenizer` wrote. Raises `Invalid` where the files are absent or malformed."""
    try:
        return PreTrainedTokenizerFast.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:  # the Rust loader raises bare Exception
        raise Invalid(
            f"The tokenizer in {directory} cannot be read: {error}", "Export the model again.", field="tokenizer.json"
        ) from error


def encode_documents(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Iterator[list[int]]:
    """Token ids of each text, in order, without special tokens.

    A document that spells `END_OF_TEXT` gets ordinary tokens for it: data cannot forge a document boundary.
    """
    backend = tokenizer.backend_tokenizer
    remaining = iter(texts)
    while chunk := list(islice(remaining, _DOCUMENTS_AT_ONCE)):
        before = backend.encode_special_tokens
        backend.encode_special_tokens = True
        try:
            encoded = backend.encode_batch_fast(chunk, add_special_tokens=False)
        finally:
            backend.encode_special_tokens = before
        for encoding in encoded:
            yield encoding.ids
