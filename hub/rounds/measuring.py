"""The quality of a round's updates, by the text that the campaign holds out."""

from __future__ import annotations

from pathlib import Path

from hub.rounds import heldout
from hub.rounds.gathering import Measure
from learning.export import load_model
from learning.quality import Yardstick, held_out_blocks
from learning.trainable import trainable_of
from protos.documents.campaigns import CampaignSpec


def measure_of(directory: Path, spec: CampaignSpec, parent: Path) -> Measure | None:
    """How updates of a round that starts from the model in `parent` are measured; None where the campaign measures none."""
    if spec.quality is None:
        return None
    model, tokenizer = load_model(parent)
    texts = heldout.texts(directory)
    blocks = held_out_blocks(tokenizer, texts, spec.training.sequence_length, spec.quality.blocks)
    return Yardstick(model, trainable_of(spec.trained()), blocks).quality
