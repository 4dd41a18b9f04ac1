"""How many parameters a model has, and how many of them see a token. Nothing is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from learning.architectures import configuration, shell
from learning.muon import takes


@dataclass(frozen=True)
class Census:
    """Counts of distinct parameters (a tied embedding counts once).

    `active` are those that a token passes through: of each set of routed experts only as many as the router picks. Both
    include the embeddings. `largest_layer` is the greatest number in one repeated block: what ZeRO 3 must hold whole at once.
    `matrices` are those that Muon would move.
    """

    total: int
    active: int
    embeddings: int
    experts: int
    largest_layer: int
    matrices: int


def census(values: Mapping[str, Any]) -> Census:
    """Counted on the `meta` device from the configuration's own class. Raises `Invalid`."""
    config = configuration(values)
    with torch.device("meta"):
        model = shell(config)
    picked = getattr(config, "num_experts_per_tok", 0)
    total = active = embeddings = experts = matrices = 0
    taken = takes(model)
    vocabulary = {
        id(module.weight) for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module
    }
    layers: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        count = parameter.numel()
        total += count
        matrices += count if taken(parameter) else 0
        if ".experts." in name:  # one stacked tensor [experts, ...] for all routed experts of a layer
            experts += count
            active += count // parameter.shape[0] * picked
        else:
            active += count
        if id(parameter) in vocabulary:
            embeddings += count
        elif layer := _layer(name):
            layers[layer] = layers.get(layer, 0) + count
    return Census(total, active, embeddings, experts, max(layers.values(), default=0), matrices)


def _layer(name: str) -> str:
    """`model.layers.3` of `model.layers.3.mlp.up_proj.weight`; empty for what stands in no numbered block."""
    parts = name.split(".")
    place = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return "" if place is None else ".".join(parts[: place + 1])
