"""Base runs: what the core team signs to launch one, and what the hub signs about its course."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from protos.documents.architectures import Architecture
from protos.documents.base import Claim, DigestText, Document, FileEntry, Identifier, Name, Text


class Data(Document):
    """What to train on: dataset identifiers, or every accepted dataset when empty."""

    datasets: tuple[Identifier, ...] = ()


class Training(Document):
    """How to train. `batch_size` counts sequences per rank and step; a step sees batch_size x ranks x sequence_length tokens.

    `micro_batch` of them go through the model at a time (all, unless it is given). With `recompute`, a layer's activations
    are computed again on the way back instead of being kept. With `separate_documents` a token sees its own document only, and
    positions begin anew with each; the state space layers of hybrids carry their state over.

    The learning rate warms up, then falls along a cosine to `floor` times its peak (1: it stays at the peak).

    Where there are experts, `balance` weighs the loss that spreads tokens evenly over them, `router_z` the one that keeps the
    router's logits small.
    """

    steps: int = Field(ge=1, le=10_000_000)
    batch_size: int = Field(ge=1, le=65_536)
    sequence_length: int = Field(ge=16, le=1_048_576)
    learning_rate: float = Field(gt=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    floor: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.1, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0)
    precision: Literal["fp32", "bf16"] = "bf16"
    zero_stage: Literal[0, 1, 2, 3] = 1
    micro_batch: int | None = Field(default=None, ge=1, le=65_536)
    recompute: bool = False
    separate_documents: bool = False
    balance: float = Field(default=0.01, ge=0, le=1)
    router_z: float = Field(default=0.001, ge=0, le=1)
    checkpoint_every: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Training:
        if self.batch_size % self.at_once:
            raise ValueError("micro_batch must divide batch_size")
        return self

    @property
    def at_once(self) -> int:
        """Sequences per rank in one pass."""
        return self.micro_batch or self.batch_size


class Placement(Document):
    """The gang: `nodes` agents with one rank each, all or none."""

    nodes: int = Field(default=1, ge=1, le=4096)


class RunSpec(Document):
    """The content of SPEC.toml for `coalition run launch`."""

    name: Name
    architecture: Architecture
    data: Data = Data()
    training: Training
    placement: Placement = Placement()

    @model_validator(mode="after")
    def _fits(self) -> RunSpec:
        if self.training.sequence_length > self.architecture.context_length:
            raise ValueError("training.sequence_length exceeds architecture.context_length")
        return self


class Run(Claim):
    """Signed by a core member: launch this."""

    spec: RunSpec


class Stop(Claim):
    """Signed by a core member: end this run or campaign."""

    target: Identifier
    why: Text = "asked to stop"


class Checkpoint(Claim):
    """Signed by the hub: every rank holds its shard of this step, and the weights are a blob."""

    run: Identifier
    attempt: int = Field(ge=1)
    step: int = Field(ge=1)
    loss: float
    weights: FileEntry
    shards: tuple[DigestText, ...]
    nodes: tuple[Name, ...]


class RunEnd(Claim):
    """Signed by the hub: the run is over."""

    run: Identifier
    outcome: Literal["finished", "failed", "cancelled"]
    reason: str = Field(default="", max_length=2000)
    model: Identifier | None = None
