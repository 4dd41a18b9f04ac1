from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from learning.tokenizer import (
    END_OF_TEXT,
    END_OF_TEXT_ID,
    encode_documents,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)
from trust.errors import Invalid

REFERENCE = train_tokenizer(iter(["plain words and some more plain words"] * 4), 300)


def test_the_same_texts_give_the_same_tokenizer(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(iter(texts), 320)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert len(again) == 320


def test_the_vocabulary_is_an_upper_bound() -> None:
    assert 257 < len(train_tokenizer(iter(["ab ab ab"]), 5000)) < 300
    with pytest.raises(Invalid):
        train_tokenizer(iter(["ab"]), 256)


def test_one_token_begins_ends_and_pads(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == END_OF_TEXT_ID
    assert tokenizer.convert_ids_to_tokens(END_OF_TEXT_ID) == END_OF_TEXT


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    (ids,) = encode_documents(REFERENCE, [text])
    assert REFERENCE.decode(ids) == text


def test_a_document_cannot_forge_a_boundary(tokenizer: PreTrainedTokenizerFast) -> None:
    text = f"before {END_OF_TEXT} after"
    (ids,) = encode_documents(tokenizer, [text])
    assert END_OF_TEXT_ID not in ids
    assert tokenizer.decode(ids) == text
    assert END_OF_TEXT_ID in tokenizer.encode(text)  # the setting is put back


def test_files_load_with_auto_tokenizer(tmp_path: Path, texts: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    save_tokenizer(tokenizer, tmp_path)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        assert loaded(texts[:5])["input_ids"] == tokenizer(texts[:5])["input_ids"]
        assert loaded.eos_token_id == loaded.pad_token_id == END_OF_TEXT_ID
        assert loaded.decode(loaded.encode(texts[0])) == texts[0]


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Invalid):
        load_tokenizer(tmp_path)
