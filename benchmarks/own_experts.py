"""Whether experts of members' own should train with their rows of the routers: `python -m benchmarks.own_experts`.

Three members' texts are three random languages (Markov chains). A small model of six experts has seen all of them, for few steps
or for more; then each member trains two experts on its own language alone, and the three updates are merged. Of each such model:
the loss on held-out text of all languages, in nats per token, means of the seeds; beside it that of the mean of members' updates
of all weights, from the same model over the same batches at the same rate. Last, the share of a language's tokens that its own
experts are given.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from hub.rounds.gathering import Gathering
from learning.adaptation import adapt
from learning.architectures import build_model
from learning.pretraining import block_loss
from learning.trainable import trainable_of
from learning.weights import moved
from protos.documents.architectures import Mixtral
from protos.documents.campaigns import CampaignSpec

SEEDS, VOCABULARY, LENGTH = (1, 2), 512, 64
BASES = (150, 600)
"""Steps that the model has seen before."""
MEMBERS = ("code", "law", "medicine")
OWN = {"code": [0, 1], "law": [2, 3], "medicine": [4, 5]}
SHAPE = Mixtral.model_validate(
    {
        "family": "mixtral", "vocab_size": VOCABULARY, "hidden_size": 64, "heads": 4, "kv_heads": 2, "layers": 2,
        "context_length": LENGTH, "intermediate_size": 128, "experts": 6, "experts_per_token": 2,
    }
)  # fmt: skip
TRAINING = {"steps": 150, "batch_size": 16, "sequence_length": LENGTH, "learning_rate": 3e-3}
SPEC = {"name": "own", "base_model": "tiny-1", "rounds": 1, "minimum_members": 3, "training": TRAINING}
KINDS: dict[str, dict[str, Any]] = {
    "all weights, mean": {"trainable": "full"},
    "own experts": {"trainable": "experts", "experts": {"own": OWN}},
    "own experts and their router rows": {"trainable": "experts", "experts": {"own": OWN, "router": True}},
}
Languages = dict[str, NDArray[np.int64]]


def languages(seed: int, count: int, salt: int) -> Languages:
    """`count` texts [count, LENGTH] of each member's language; each token has eight that may follow it."""
    found: Languages = {}
    for number, member in enumerate(MEMBERS):
        after = np.random.default_rng([seed, number]).integers(1, VOCABULARY, (VOCABULARY, 8))
        draw = np.random.default_rng([seed, number, salt])
        text = np.zeros((count, LENGTH), np.int64)
        text[:, 0] = draw.integers(1, VOCABULARY, count)
        for before, place in pairwise(range(LENGTH)):
            text[:, place] = after[text[:, before], draw.integers(0, 8, count)]
        found[member] = text
    return found


def merged(model: PreTrainedModel, spec: CampaignSpec, texts: Languages, seed: int) -> PreTrainedModel:
    """One round of all members, by the hub's own code."""
    together, training = trainable_of(spec.trained()), spec.training
    gathering = Gathering(spec, together.origin(copy.deepcopy(model), seed)[0])
    for member in MEMBERS:
        prepared = trainable_of(spec.trained(member)).prepare(copy.deepcopy(model), seed)
        adapt(prepared.model, texts[member], training.steps, training.batch_size, training.learning_rate, seed)
        gathering.add(member, prepared.state(), 1)
    return moved(model, together.change(gathering.result().update, model))


@torch.no_grad()
def loss(model: PreTrainedModel, texts: Languages) -> float:
    return sum(float(block_loss(model.eval(), torch.from_numpy(text))) for text in texts.values()) / len(texts)


@torch.no_grad()
def share_of_own(model: PreTrainedModel, texts: Languages) -> float:
    """Of the places that routers give to a language's tokens, those of its member's experts."""
    shares = []
    for member, text in texts.items():
        found: Any = model(torch.from_numpy(text), output_router_logits=True)
        picks = torch.stack([logits.topk(2).indices for logits in found.router_logits])
        shares.append(float(torch.isin(picks, torch.tensor(OWN[member])).float().mean()))
    return sum(shares) / len(shares)


def main(steps: int) -> None:
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in SEEDS:
        seen, held_out = languages(seed, 1024, 1), languages(seed, 64, 2)
        base = build_model(SHAPE.hugging_face(), seed)
        adapt(base, np.concatenate(list(seen.values())), steps, 16, 3e-3, seed)
        results: Mapping[str, PreTrainedModel] = {"before": base} | {
            kind: merged(base, CampaignSpec.read({**SPEC, **more}), languages(seed, 1024, 3), seed)
            for kind, more in KINDS.items()
        }
        for kind, model in results.items():
            found.setdefault(kind, []).append((loss(model, held_out), share_of_own(model, held_out)))
    print(f"{f'a model of {steps} steps':36}{'loss':>8}{'given to its own':>18}")
    for kind, each in found.items():
        mean, share = Tensor(each).mean(0).tolist()
        print(f"{kind:36}{mean:8.3f}{share:18.1%}")


if __name__ == "__main__":
    for each in BASES:
        main(each)
