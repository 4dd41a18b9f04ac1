"""What a base run's workers compute, apart from the processes that compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

from learning.likelihood import next_token_losses
from learning.packing import positions
from learning.schedules import cosine_with_warmup, warmup_stable_decay
from learning.tokenizer import END_OF_TEXT_ID
from trust.errors import Invalid

Precision = Literal["fp32", "bf16"]
Schedule = Literal["cosine", "wsd"]
Optimizer = Literal["adamw", "muon"]
BETAS = (0.9, 0.95)
EPSILON = 1e-8
REDUCE_BUCKET = 200_000_000
LIVE_PARAMETERS = 1_000_000_000
"""Gradients that are exchanged at once, and parameters that ZeRO 3 may keep whole, in elements."""


@dataclass(frozen=True)
class TrainingShape:
    """The numbers of a base run: `sequence_length` in tokens, `learning_rate` at its peak, `floor` a fraction of it.

    `micro_batch` sequences go through the model at a time, of `batch_size_per_rank` in a step (all, unless it is given).
    """

    steps: int
    batch_size_per_rank: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip: float
    seed: int
    sequence_length: int
    precision: Precision = "bf16"
    floor: float = 0.1
    micro_batch: int | None = None
    schedule: Schedule = "cosine"
    decay_steps: int = 0
    optimizer: Optimizer = "adamw"

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size_per_rank", "learning_rate", "clip"):
            if not getattr(self, field) > 0:
                raise Invalid(f"{field} is {getattr(self, field)}.", "Give a positive number.", field=field)
        if self.sequence_length < 2:
            raise Invalid("A sequence of one token has nothing to predict.", "Use 2 or more.", field="sequence_length")
        if self.weight_decay < 0 or self.seed < 0:
            raise Invalid("weight_decay and seed cannot be negative.", "Give 0 or more.", field="weight_decay")
        if self.precision not in ("fp32", "bf16"):
            raise Invalid(f"There is no precision {self.precision!r}.", "Choose fp32 or bf16.", field="precision")
        if self.batch_size_per_rank % self.at_once:
            raise Invalid(
                f"A batch of {self.batch_size_per_rank} does not split into passes of {self.at_once}.",
                "Choose micro_batch as a divisor of the batch size.",
                field="micro_batch",
            )
        learning_rate_at(self, 0)

    @property
    def at_once(self) -> int:
        """Sequences per rank in one pass."""
        return self.micro_batch or self.batch_size_per_rank


def row_losses(
    model: PreTrainedModel, blocks: Tensor, *, separate: bool = False, z: float = 0.0
) -> tuple[Tensor, Tensor]:
    """From `blocks` int64 [batch, length]: what `next_token_losses` finds in the model's logits for them.

    Blocks are full, so there is no padding. Attention is causal within a block, across its documents, or with `separate` within
    each document; the state space layers of hybrids carry their state from one document to the next either way.
    """
    places = positions(blocks, END_OF_TEXT_ID) if separate else None
    logits: Tensor = model(input_ids=blocks, position_ids=places, use_cache=False).logits
    return next_token_losses(logits, blocks, z)


def block_loss(model: PreTrainedModel, blocks: Tensor, *, separate: bool = False) -> Tensor:
    """The mean of `row_losses`: scalar fp32."""
    return row_losses(model, blocks, separate=separate)[1]


def learning_rate_at(shape: TrainingShape, step: int) -> float:
    """The learning rate of `step` (from 0), for the worker to set on every parameter group before it steps."""
    if shape.schedule == "wsd":
        fraction = warmup_stable_decay(step, shape.steps, shape.warmup_steps, shape.decay_steps, shape.floor)
    else:
        fraction = cosine_with_warmup(step, shape.steps, shape.warmup_steps, shape.floor)
    return shape.learning_rate * fraction


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices decay, vectors (norms, biases) do not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


_FOREIGN = {"zero_allow_untested_optimizer": True}


def deepspeed_config(shape: TrainingShape, world: int, zero_stage: int, parameters: int) -> dict[str, Any]:
    """The configuration for `deepspeed.initialize` (0.19.8) on `world` ranks, for a model of `parameters`. It logs to nobody.

    `torch_adam` because DeepSpeed's own Adam kernels need a compiler at start; torch's fused one goes over its states once. Muon
    comes from outside (`learning.muon`). Raises `Invalid` for a stage outside 0 to 3, Muon under stage 3, which keeps no matrix
    in one piece, or no rank.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise Invalid(f"There is no ZeRO stage {zero_stage}.", "Choose 0, 1, 2 or 3.", field="zero_stage")
    if zero_stage == 3 and shape.optimizer == "muon":
        raise Invalid("Muon works under ZeRO 0 to 2.", "Choose zero_stage = 2, or AdamW.", field="optimizer")
    if world < 1:
        raise Invalid(f"A run cannot have {world} ranks.", "Give at least 1.", field="world")
    adam = {
        "lr": shape.learning_rate,
        "betas": list(BETAS),
        "eps": EPSILON,
        "weight_decay": shape.weight_decay,
        "torch_adam": True,
        "adam_w_mode": True,
        "fused": True,
    }
    return {
        "train_micro_batch_size_per_gpu": shape.at_once,
        "gradient_accumulation_steps": shape.batch_size_per_rank // shape.at_once,
        "train_batch_size": shape.batch_size_per_rank * world,
        **({"optimizer": {"type": "AdamW", "params": adam}} if shape.optimizer == "adamw" else _FOREIGN),
        "bf16": {"enabled": shape.precision == "bf16"},
        "gradient_clipping": shape.clip,
        "zero_optimization": {
            "stage": zero_stage,
            "reduce_bucket_size": min(REDUCE_BUCKET, parameters),
            "stage3_max_live_parameters": LIVE_PARAMETERS,
        },
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }
