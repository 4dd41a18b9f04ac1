"""A campaign of continued training without the wire: what each site trains and what the hub makes of it, by their own code."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from contributors.site.training import Trained
from hub.rounds.gathering import Gathering
from learning.adaptation import adapt
from learning.packing import Blocks, pack
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from learning.trainable import trainable_of
from learning.weights import moved
from protos.documents.campaigns import CampaignSpec


def blocks(tokenizer: PreTrainedTokenizerFast, documents: list[str], length: int) -> Blocks:
    """[n, length]."""
    return pack(encode_documents(tokenizer, documents), length, END_OF_TEXT_ID)


def trained(model: PreTrainedModel, member: Blocks, spec: CampaignSpec, seed: int) -> Trained:
    """A site's training in a round."""
    prepared = trainable_of(spec.trained()).prepare(copy.deepcopy(model), seed)
    start, training = prepared.start, spec.training
    result = adapt(prepared.model, member, training.steps, training.batch_size, training.learning_rate, seed)
    return Trained(prepared.state(), start, len(member), result, ())


def merged(model: PreTrainedModel, spec: CampaignSpec, adapter: Mapping[str, Tensor]) -> PreTrainedModel:
    return moved(model, trainable_of(spec.trained()).change(adapter, model))


def after_round(model: PreTrainedModel, spec: CampaignSpec, updates: Mapping[str, Trained]) -> PreTrainedModel:
    """What the hub makes of a round's updates, by member."""
    gathering = Gathering(spec, next(iter(updates.values())).start)
    for member, update in updates.items():
        gathering.add(member, update.adapter, update.examples)
    return merged(model, spec, gathering.result().update)
