"""Base runs: what the core team signs to launch one, and what the hub signs about its course."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protos.documents.architectures import Architecture
from protos.documents.base import Claim, DigestText, Document, FileEntry, Identifier, Name, Text


class Data(Document):
    """What to train on: dataset identifiers, or every accepted dataset when empty."""

    datasets: tuple[Identifier, ...] = ()


class Training(Document):
    """How to train. `batch_size` counts sequences per rank and step; a step sees batch_size x ranks x sequence_length tokens.

    `micro_batch` of them go through the model at a time (all, unless it is given). With `recompute`, a layer's activations
    are computed again on the way back instead of being kept. The learning rate warms up, then falls along a cosine to `floor`
    times its peak (1: it stays at the peak).

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


Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]


class Placement(Document):
    """The gang: so many ranks on each of `nodes` machines with the same accelerators, all or none.

    A higher `priority` goes first, and runs of a lower one stop for it at a checkpoint. `project` is who the work is counted
    for (the member who launches it, unless it is given). `hours` is how long it is expected to take: a run that says so may
    pass a larger one that waits. `accelerator` is part of a kind's name, `memory` bytes for each rank, `labels` what a node
    must say of itself.
    """

    nodes: int = Field(default=1, ge=1, le=4096)
    ranks_per_node: int = Field(default=1, ge=1, le=64)
    priority: int = Field(default=0, ge=0, le=9)
    project: Name | None = None
    hours: float | None = Field(default=None, gt=0, le=100_000)
    accelerator: str = Field(default="", pattern=r"^[A-Za-z0-9 ._-]{0,80}$")
    memory: int = Field(default=0, ge=0)
    labels: dict[Label, Label] = Field(default={}, max_length=16)

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node


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
