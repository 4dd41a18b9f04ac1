"""A campaign of continued training without the wire: what each site trains and what the hub makes of it, by their own code."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from contributors.site.training import Trained
from hub.rounds.gathering import Gathering
from hub.rounds.merging import change_of, shape_of
from learning.adaptation import adapt
from learning.adapters import adapter_state, attach, moved
from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from protos.documents.campaigns import CampaignSpec


def blocks(tokenizer: PreTrainedTokenizerFast, documents: list[str], length: int) -> Blocks:
    """[n, length]."""
    return pack(encode_documents(tokenizer, documents), length, END_OF_TEXT_ID)


def trained(model: PreTrainedModel, member: Blocks, spec: CampaignSpec, seed: int) -> Trained:
    """A site's training in a round."""
    adapted = attach(copy.deepcopy(model), shape_of(spec.adapter), seed)
    start, training = adapter_state(adapted), spec.training
    result = adapt(adapted, member, training.steps, training.batch_size, training.learning_rate, seed)
    return Trained(adapter_state(adapted), start, len(member), result, ())


def merged(model: PreTrainedModel, spec: CampaignSpec, adapter: Mapping[str, Tensor]) -> PreTrainedModel:
    return moved(model, dict(change_of(spec.adapter, adapter)))


def after_round(model: PreTrainedModel, spec: CampaignSpec, updates: Mapping[str, Trained]) -> PreTrainedModel:
    """What the hub makes of a round's updates, by member."""
    gathering = Gathering(spec, next(iter(updates.values())).start)
    for member, update in updates.items():
        gathering.add(member, update.adapter, update.examples)
    return merged(model, spec, gathering.result().update)
