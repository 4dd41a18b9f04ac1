"""Base runs: what the core team signs to launch one, and what the hub signs about its course."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protos.documents.architectures import Architecture
from protos.documents.base import Claim, DigestText, Document, FileEntry, Identifier, Name, Text
from protos.documents.course import Data, Leg, Samples, Stage, Training, course
from protos.documents.models import Skip
from trust.errors import Invalid

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]


class Placement(Document):
    """The gang: so many ranks on each of `nodes` machines with the same accelerators, all or none.

    A higher `priority` goes first, and runs of a lower one stop for it at a checkpoint. `project` is who the work is counted
    for (the member who launches it, unless it is given). `hours` is how long it is expected to take: a run that says so may
    pass a larger one that waits. When nodes are lost for good, a run that is copied (`training.copy_every`) goes on with those
    that are left, down to `fewest` (half, unless it is given). `accelerator` is part of a kind's name, `memory` bytes for each
    rank, `labels` what a node must say of itself.
    """

    nodes: int = Field(default=1, ge=1, le=4096)
    ranks_per_node: int = Field(default=1, ge=1, le=64)
    priority: int = Field(default=0, ge=0, le=9)
    project: Name | None = None
    hours: float | None = Field(default=None, gt=0, le=100_000)
    accelerator: str = Field(default="", pattern=r"^[A-Za-z0-9 ._-]{0,80}$")
    memory: int = Field(default=0, ge=0)
    labels: dict[Label, Label] = Field(default={}, max_length=16)
    fewest: int | None = Field(default=None, ge=1, le=4096)

    @model_validator(mode="after")
    def _no_more(self) -> Placement:
        if self.fewest and self.fewest > self.nodes:
            raise ValueError(f"fewest = {self.fewest} is more than nodes = {self.nodes}")
        return self

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node


STRETCHABLE = ("llama", "olmo3", "mixtral", "olmoe")
"""Families whose rotary positions are as trained; those of mistral4 are stretched from the beginning, nemotron_h has none."""


class RunSpec(Document):
    """The content of SPEC.toml for `coalition run launch`."""

    name: Name
    architecture: Architecture
    data: Data = Data()
    training: Training
    placement: Placement = Placement()
    stages: tuple[Stage, ...] = Field(default=(), max_length=32)
    samples: Samples | None = None

    @model_validator(mode="after")
    def _fits(self) -> RunSpec:
        legs = self.course
        longest = max(leg.training.sequence_length for leg in legs)
        if longest > self.architecture.context_length:
            raise ValueError(f"a sequence_length of {longest} exceeds architecture.context_length")
        if any(leg.weights for leg in legs) and not all(leg.weights for leg in legs):
            raise ValueError("some stages weigh domains and others do not; give data.weights, or each stage its own")
        if self.training.evaluate_every and not self.data.held_out:
            raise ValueError(
                "training.evaluate_every needs text that is held out: give data.held_out, for example 0.01"
            )
        if any(leg.stretched_from for leg in legs) and self.architecture.family not in STRETCHABLE:
            raise ValueError(f"the positions of {self.architecture.family} cannot be stretched")
        return self

    @property
    def course(self) -> tuple[Leg, ...]:
        """What the run does, one leg after the other."""
        return course(self.training, self.data, self.stages)

    @property
    def domains(self) -> frozenset[str]:
        """Those that any stage trains on; empty for all that there are."""
        return frozenset(domain for leg in self.course for domain in leg.weights)

    @property
    def tokens(self) -> int:
        """That a finished run has learned from, however many batches it skipped."""
        each = sum(leg.training.steps * leg.training.batch_size * leg.training.sequence_length for leg in self.course)
        return each * self.placement.ranks

    def on(self, nodes: int) -> RunSpec:
        """The same run on another number of nodes: each of its steps sees the same sequences, in passes no larger than before.

        Raises `Invalid` where a batch cannot be divided.
        """
        if nodes == self.placement.nodes:
            return self
        legs = [self._shared(leg.training, nodes) for leg in self.course]
        stages = (
            stage.model_copy(update=leg) for stage, leg in zip(self.stages, legs, strict=False)
        )  # one leg without
        return self.model_copy(
            update={
                "placement": self.placement.model_copy(update={"nodes": nodes, "fewest": None}),
                "training": self.training.model_copy(update=self._shared(self.training, nodes)),
                "stages": tuple(stages),
            }
        )

    def _shared(self, training: Training, nodes: int) -> dict[str, int]:
        """What each rank takes of a batch, all ranks of so many nodes as much."""
        batch = training.batch_size * self.placement.nodes
        if batch % nodes:
            ranks = nodes * self.placement.ranks_per_node
            raise Invalid(
                f"A batch of {batch * self.placement.ranks_per_node} sequences cannot be divided among {ranks} ranks.",
                "Take a number of nodes that divides it.",
                field="placement.nodes",
            )
        each = batch // nodes
        at_once = max(part for part in range(1, training.at_once + 1) if each % part == 0)
        return {"batch_size": each, "micro_batch": at_once}


class Run(Claim):
    """Signed by a core member: launch this."""

    spec: RunSpec


class Stop(Claim):
    """Signed by a core member: end this run or campaign."""

    target: Identifier
    why: Text = "asked to stop"


class Checkpoint(Claim):
    """Signed by the hub: every rank holds its shard of this step, and the weights are a blob.

    `rank_seconds` is what the run has held of the machines since its checkpoint before, in any attempt: ranks times seconds.
    """

    run: Identifier
    attempt: int = Field(ge=1)
    step: int = Field(ge=1)
    loss: float
    weights: FileEntry
    shards: tuple[DigestText, ...]
    nodes: tuple[Name, ...]
    skipped: tuple[Skip, ...] = ()
    rank_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class RunEnd(Claim):
    """Signed by the hub: the run is over. `rank_seconds` as in its checkpoints, since the last of them."""

    run: Identifier
    outcome: Literal["finished", "failed", "cancelled"]
    reason: str = Field(default="", max_length=2000)
    model: Identifier | None = None
    rank_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
