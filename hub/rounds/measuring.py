"""The quality of a round's updates, by the text that the campaign holds out."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hub.rounds import heldout
from hub.rounds.gathering import Measure
from hub.rounds.merging import shape_of
from learning.quality import Yardstick, held_out_blocks
from protos.documents.campaigns import CampaignSpec


def measure_of(
    directory: Path, spec: CampaignSpec, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> Measure | None:
    """How updates of a round that starts from `model` are measured; None where the campaign measures none."""
    if spec.quality is None:
        return None
    texts = heldout.texts(directory)
    blocks = held_out_blocks(tokenizer, texts, spec.training.sequence_length, spec.quality.blocks)
    return Yardstick(model, shape_of(spec.adapter), blocks).quality
