"""How many bytes an update has, by what trains and how it travels: `python -m benchmarks.parts`.

A dense model and one of eight experts, both tiny. An update is random: its size does not depend on what was learned. Beside
each stands its ratio to the same model's weights in fp32, which every site gets in every round.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.architectures import build_model
from learning.compression import How, compress
from learning.trainable import trainable_of
from learning.updates import save_tensors
from protos.documents.architectures import Architecture, Llama, Mixtral
from protos.documents.campaigns import CampaignSpec

SIZES = {"vocab_size": 2048, "hidden_size": 192, "heads": 4, "kv_heads": 2, "layers": 4, "context_length": 256}
DENSE = Llama.model_validate({**SIZES, "intermediate_size": 512})
ROUTED = Mixtral.model_validate(
    {**SIZES, "family": "mixtral", "intermediate_size": 256, "experts": 8, "experts_per_token": 2}
)
WAYS: tuple[How, ...] = ("fp32", "bf16", "int8", "top-k")
KEPT = 0.1
TRAINING = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
SPEC = {"name": "sizes", "base_model": "tiny-1", "rounds": 1, "minimum_members": 1, "training": TRAINING}
PARTS: dict[str, dict[str, object]] = {
    "LoRA of rank 16": {},
    "DoRA of rank 16": {"adapter": {"method": "dora"}},
    "all weights": {"trainable": "full"},
    "one expert of its own": {"trainable": "experts", "experts": {"own": {"law": [3]}}},
    "one expert and its router rows": {"trainable": "experts", "experts": {"own": {"law": [3]}, "router": True}},
}


def sizes(architecture: Architecture, part: dict[str, object]) -> dict[How, int]:
    """Bytes of an update of each way to travel."""
    model, generator = build_model(architecture.hugging_face(), seed=0), torch.Generator().manual_seed(0)
    trainable = trainable_of(CampaignSpec.read({**SPEC, **part}).trained("law"))
    start = trainable.origin(model, seed=0)[0]
    change: dict[str, Tensor] = {name: torch.randn(t.shape, generator=generator) for name, t in start.items()}
    return {how: len(compress(change, how, keep=KEPT).data) for how in WAYS}


def main() -> None:
    print(f"{'':34}{'':>10}" + "".join(f"{how:>20}" for how in WAYS))
    for name, architecture in (("dense", DENSE), ("eight experts", ROUTED)):
        weights = dict(build_model(architecture.hugging_face(), seed=0).named_parameters())
        whole = len(save_tensors({key: weight.detach() for key, weight in weights.items()}))
        print(f"{name}: {whole:,} bytes")
        for part, more in PARTS.items():
            if more.get("trainable") == "experts" and architecture is DENSE:
                continue
            found = sizes(architecture, more)
            print(f"  {part:42}" + "".join(f"{size:>12,} {size / whole:6.1%}" for size in found.values()))


if __name__ == "__main__":
    main()
