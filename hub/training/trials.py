"""What a model in training is tried with: text that it never learns from, and prompts to go on with. All ranks take part alike,
since under ZeRO 3 none has the whole model."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from hub.training.meters import Losses
from learning.corpus import Corpus, batch
from learning.mixture import Rows
from learning.pretraining import row_losses
from learning.tokenizer import encode_documents
from protos.documents.course import Leg, Samples
from trust.errors import Invalid

HELD_OUT = "held_out_"


def held_out_rows(corpus: Corpus, length: int, most: int) -> Rows:
    """The first `most` sequences of each domain's held-out text. Raises `Invalid` where there is not one."""
    rows: dict[str, Rows] = {}
    for dataset, tokens in corpus.held_out.items():
        of = rows.setdefault(corpus.domains[dataset], [])
        of.extend((dataset, index) for index in range(min(len(tokens) // length, most - len(of))))
    found = [row for domain in sorted(rows) for row in rows[domain]]
    if not found:
        raise Invalid(
            "The text held out is less than one sequence.", "Hold out a greater share.", field="data.held_out"
        )
    return found


@torch.no_grad()
def held_out_losses(engine: Any, corpus: Corpus, leg: Leg, rank: int, world: int) -> dict[str, float]:
    """`held_out_loss`, and by domain: the mean cross entropy on `held_out_rows`, which ranks share out between them."""
    training = leg.training
    rows = held_out_rows(corpus, training.sequence_length, training.evaluate_sequences)
    losses = Losses(corpus.domains.values(), engine.device)
    engine.eval()
    for begin in range(0, len(rows), training.at_once * world):
        mine = rows[begin + rank : begin + training.at_once * world : world]
        blocks = batch(corpus.held_out, mine or rows[:1], training.sequence_length, engine.module.config.vocab_size)
        found, _ = row_losses(engine, blocks.to(engine.device), separate=training.separate_documents)
        if mine:
            losses.add(found, [corpus.domains[dataset] for dataset, _ in mine])
    engine.train()
    return losses.take(HELD_OUT)


@torch.no_grad()
def continued(engine: Any, tokenizer: PreTrainedTokenizerFast, samples: Samples, length: int) -> list[str]:
    """Each prompt with what the model takes to follow: always the likeliest token, up to the end of the text."""
    engine.eval()
    texts = []
    for prompt, ids in zip(samples.prompts, encode_documents(tokenizer, samples.prompts), strict=True):
        tokens = torch.tensor([[tokenizer.bos_token_id, *ids]], device=engine.device)
        for _ in range(samples.tokens):
            logits = engine(input_ids=tokens[:, -length:], use_cache=False).logits
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
        said = tokens[0, 1 + len(ids) :].tolist()
        end = said.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in said else len(said)
        texts.append(f"{prompt} | {tokenizer.decode(said[:end])}")
    engine.train()
    return texts
