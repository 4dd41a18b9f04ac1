"""How a base run trains: on what, with which numbers, and in which stages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from protos.documents.base import Document, Identifier, Name

Weights = Annotated[dict[Name, Annotated[float, Field(gt=0, le=1e6)]], Field(max_length=64)]
"""Of domains against each other: their shares of the sequences in a step."""


class Data(Document):
    """What to train on: dataset identifiers, or every accepted dataset when empty.

    With `weights` each domain has its share of every step, and a domain without one is not trained on; without them every
    sequence counts alike. `held_out` is the share of documents, picked by their digest, that no run with such a share
    trains on.
    """

    datasets: tuple[Identifier, ...] = ()
    weights: Weights = Field(default_factory=dict)
    held_out: float = Field(default=0.0, ge=0, le=0.5)


class Training(Document):
    """How to train. `batch_size` counts sequences per rank and step; a step sees batch_size x ranks x sequence_length tokens.

    `micro_batch` of them go through the model at a time (all, unless it is given). With `recompute`, a layer's activations
    are computed again on the way back instead of being kept. With `separate_documents` a token sees its own document only, and
    positions begin anew with each; the state space layers of hybrids carry their state over.

    The learning rate warms up, then falls along a cosine to `floor` times its peak (1: it stays at the peak); with the schedule
    `wsd` it stays at the peak and falls in a straight line to `floor` times it over the last `decay_steps`. Muon takes the same
    learning rates as AdamW. `z_loss` weighs the loss that keeps the logits of the next token small.

    Where there are experts, `balance` weighs the loss that spreads tokens evenly over them, `router_z` the one that keeps the
    router's logits small.

    Of the checkpoints that are registered, nodes keep the newest `keep_checkpoints`, so that a damaged one is not the end. Those
    of every `copy_every` steps (0: none) are also copied to the hub, in a form that any number of ranks can go on from: a node
    that is lost for good then costs no more than the steps since.

    Every `evaluate_every` steps the loss on held-out text is measured, on `evaluate_sequences` of each domain at most. When the
    loss stands more than `spike_deviations` standard deviations above what is usual, training goes back to the last checkpoint
    and skips the batches since then, at most `rollbacks` times in a run.
    """

    steps: int = Field(ge=1, le=10_000_000)
    batch_size: int = Field(ge=1, le=65_536)
    sequence_length: int = Field(ge=16, le=1_048_576)
    learning_rate: float = Field(gt=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    floor: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.1, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, le=2**53 - 1)
    precision: Literal["fp32", "bf16"] = "bf16"
    zero_stage: Literal[0, 1, 2, 3] = 1
    micro_batch: int | None = Field(default=None, ge=1, le=65_536)
    recompute: bool = False
    separate_documents: bool = False
    balance: float = Field(default=0.01, ge=0, le=1)
    router_z: float = Field(default=0.001, ge=0, le=1)
    checkpoint_every: int = Field(default=100, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1, le=1000)
    copy_every: int = Field(default=0, ge=0)
    schedule: Literal["cosine", "wsd"] = "cosine"
    decay_steps: int = Field(default=0, ge=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    z_loss: float = Field(default=0.0, ge=0, le=1)
    evaluate_every: int = Field(default=0, ge=0)
    evaluate_sequences: int = Field(default=64, ge=1, le=65_536)
    rollbacks: int = Field(default=0, ge=0, le=100)
    spike_deviations: float = Field(default=8.0, ge=3, le=100)

    @model_validator(mode="after")
    def _whole(self) -> Training:
        if self.batch_size % self.at_once:
            raise ValueError(f"micro_batch = {self.at_once} does not divide batch_size = {self.batch_size}")
        if self.copy_every % self.checkpoint_every:
            raise ValueError(
                f"copy_every = {self.copy_every} is no multiple of checkpoint_every = {self.checkpoint_every}"
            )
        if self.decay_steps and self.schedule != "wsd":
            raise ValueError('decay_steps belong to schedule = "wsd"')
        if self.warmup_steps + self.decay_steps > self.steps:
            decay = f" and {self.decay_steps} decay" if self.decay_steps else ""
            raise ValueError(f"{self.warmup_steps} warm-up{decay} steps exceed steps = {self.steps}")
        if self.optimizer == "muon" and self.zero_stage == 3:
            raise ValueError("muon works under zero_stage 0 to 2")
        return self

    @property
    def at_once(self) -> int:
        """Sequences per rank in one pass."""
        return self.micro_batch or self.batch_size


class Samples(Document):
    """Every so many steps each prompt is continued by `tokens` likeliest tokens, for people to read."""

    every: int = Field(ge=1)
    prompts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...] = Field(
        min_length=1, max_length=8
    )
    tokens: int = Field(default=32, ge=1, le=512)


class Stage(Document):
    """A part of a run with numbers of its own; what it does not say is as under `training`, but for
    `warmup_steps` and `decay_steps`: none. With `stretch_positions` rotary positions are stretched (YaRN) from the run's
    sequence length to the stage's."""

    name: Name
    steps: int = Field(ge=1, le=10_000_000)
    weights: Weights | None = None
    batch_size: int | None = Field(default=None, ge=1, le=65_536)
    micro_batch: int | None = Field(default=None, ge=1, le=65_536)
    sequence_length: int | None = Field(default=None, ge=16, le=1_048_576)
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    floor: float | None = Field(default=None, ge=0, le=1)
    schedule: Literal["cosine", "wsd"] | None = None
    decay_steps: int = Field(default=0, ge=0)
    stretch_positions: bool = False

    def leg(self, first: int, training: Training, data: Data) -> Leg:
        """This stage in full, from step `first` on (0 for the run's beginning). Raises `ValueError` in a few words."""
        said = self.model_dump(exclude={"name", "weights", "stretch_positions"}, exclude_none=True)
        if "batch_size" in said:
            said.setdefault("micro_batch", None)
        try:
            whole = Training.model_validate(training.model_dump() | said)
        except ValidationError as error:
            raise ValueError(f"stage {self.name}: {_first(error)}") from None
        if self.stretch_positions and whole.sequence_length <= training.sequence_length:
            raise ValueError(f"stage {self.name} stretches positions, but its sequences are not longer than the run's")
        return Leg(
            name=self.name,
            stretched_from=training.sequence_length if self.stretch_positions else 0,
            first=first,
            training=whole,
            weights=data.weights if self.weights is None else self.weights,
        )


class Leg(Document):
    """What a run does for `training.steps` steps after step `first`. `stretched_from` is the sequence length for which positions
    were made, where they are stretched, else 0."""

    name: str
    first: int
    training: Training
    weights: dict[str, float]
    stretched_from: int = 0

    @property
    def last(self) -> int:
        return self.first + self.training.steps


def course(training: Training, data: Data, stages: tuple[Stage, ...]) -> tuple[Leg, ...]:
    """The legs of a run in order; one where there are no stages. Raises `ValueError` where stages and run do not agree."""
    if not stages:
        return (Leg(name="", first=0, training=training, weights=data.weights),)
    total = sum(stage.steps for stage in stages)
    if total != training.steps:
        raise ValueError(f"training.steps = {training.steps}, but the stages have {total} steps")
    if len({stage.name for stage in stages}) < len(stages):
        raise ValueError("two stages have the same name")
    legs: list[Leg] = []
    for stage in stages:
        if legs and legs[-1].stretched_from and not stage.stretch_positions:
            raise ValueError(f"stage {stage.name} must stretch positions, as the one before it does")
        legs.append(stage.leg(legs[-1].last if legs else 0, training, data))
    return tuple(legs)


def _first(error: ValidationError) -> str:
    found: Any = error.errors(include_url=False)[0]
    return str(found["msg"]).removeprefix("Value error, ")
