"""How a campaign's members train, how their updates become one, and what a round waits for: the parts of its spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protos.documents.base import DigestText, Document, Identifier


class Adapter(Document):
    """The trainable part: LoRA on the named linear modules, or DoRA, which trains the lengths of their rows too."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    method: Literal["lora", "dora"] = "lora"

    @property
    def described(self) -> str:
        name = {"lora": "LoRA", "dora": "DoRA"}[self.method]
        return f"{name} of rank {self.rank} on {', '.join(self.targets)}"


Part = Literal["adapter", "full", "experts"]
"""What trains: an adapter beside the weights, all weights, or those of some experts."""
Numbers = Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], Field(min_length=1, max_length=1024)]
"""Of experts, counted from 0; the same in every layer that has experts."""


class Experts(Document):
    """Which experts train, of a model that has some: `common` ones at every site, or each member's `own` at its alone. Their rows
    of the routers train too where `router` says so; all else stays as it is."""

    common: Numbers | None = None
    own: dict[Identifier, Numbers] | None = Field(default=None, min_length=1, max_length=10_000)
    router: bool = False

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Experts:
        if (self.common is None) == (self.own is None):
            raise ValueError(
                "[experts] names those that are common to all members, or each member's own: one of the two"
            )
        return self

    @property
    def described(self) -> str:
        router = ", with their rows of the routers" if self.router else ""
        if self.own is None:
            return f"{_experts(self.of())} at every site{router}"
        each = (f"{_experts(self.of(member))} at {member}'s" for member in sorted(self.own))
        return f"{'; '.join(each)}{router}"

    def of(self, member: str | None = None) -> tuple[int, ...]:
        """Those that a member trains; without one, those that anybody does. Sorted, and none where it has none."""
        if self.common is not None:
            return tuple(sorted(set(self.common)))
        own = self.own or {}
        return tuple(sorted({each for name, numbers in own.items() if member in (None, name) for each in numbers}))


def _experts(numbers: tuple[int, ...]) -> str:
    return f"expert{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


class LocalTraining(Document):
    """What each site does in a round. `proximal` is FedProx's mu: how firmly an update is held to where the round began."""

    steps: int = Field(ge=1, le=1_000_000)
    batch_size: int = Field(ge=1, le=65_536)
    sequence_length: int = Field(ge=16, le=1_048_576)
    learning_rate: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    proximal: float = Field(default=0, ge=0, le=1000)


Objective = Literal["continued-training", "sft", "dpo", "grpo"]
"""What a site minimises: the loss of its texts; of what the assistant says in its conversations (supervised fine-tuning); of its
preferences between two answers; or of what the model itself answers to its tasks, by the rewards of members' policies."""


Averaging = Literal["factors", "products", "median", "trimmed-mean", "krum", "multi-krum"]
NEEDED = {"median": (1, 2), "trimmed-mean": (1, 2), "krum": (3, 2), "multi-krum": (3, 2)}
"""Updates that a rule needs: so many, and so many more for each bad one that it stands up to."""


class Preferences(Document):
    """DPO's beta, and ODPO's alpha: how much further apart an answer is to be that was scored higher; 0 is plain DPO."""

    beta: float = Field(default=0.1, gt=0, le=100)
    offset: float = Field(default=0, ge=0, le=100)


class Rewards(Document):
    """GRPO: what judges the model's own completions, and how it learns from that. `policies` names the statements of reward
    policies by their payloads' digests; a completion's reward is the mean of theirs.

    A step takes `batch_size` completions, `group` of each prompt, sampled at `temperature`; each is learned from in `passes`
    steps, in which its likelihood's ratio is clipped at 1 +- `clip`. `beta` is the weight of the KL divergence from the model
    that the round began with.
    """

    policies: tuple[DigestText, ...] = Field(min_length=1, max_length=20)
    group: int = Field(default=8, ge=2, le=128)
    temperature: float = Field(default=1, ge=0.1, le=2)
    max_new_tokens: int = Field(default=128, ge=1, le=4096)
    passes: int = Field(default=1, ge=1, le=16)
    clip: float = Field(default=0.2, gt=0, lt=1)
    beta: float = Field(default=0.04, ge=0, le=100)


class Transfer(Document):
    """How updates travel: whole adapters in fp32, or what changed in fewer bytes; `keep` is the share of values of top-k.

    With `feedback` a site adds what was lost to its next update. Each round's training begins at the merged model and sees for
    itself what is missing there, so this helps where rounds are short, and counts twice where they are long: see
    `benchmarks/feedback.py`.
    """

    how: Literal["fp32", "bf16", "int8", "top-k"] = "fp32"
    keep: float = Field(default=0.1, gt=0, le=1)
    feedback: bool = False

    @model_validator(mode="after")
    def _something_is_lost(self) -> Transfer:
        if self.feedback and self.how == "fp32":
            raise ValueError("nothing is lost in fp32: leave feedback out")
        return self


class Server(Document):
    """The step that the hub takes with a round's mean change, for the strategies that take one of their own.

    `momentum` is DiLoCo's Nesterov momentum, or FedAdam's and FedYogi's beta 1; `second` is their beta 2, `adaptivity` their tau.
    """

    rate: float = Field(gt=0, le=100)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    second: float = Field(default=0.99, ge=0, lt=1)
    adaptivity: float = Field(default=1e-3, gt=0, le=1)


class Quality(Document):
    """How the hub measures every update before it counts: the perplexity of a held-out text without it over that with it, so 1
    where nothing changes. The text is the first `blocks` blocks of a `dataset` that every member may read. An update below
    `floor` does not count."""

    dataset: Identifier
    floor: float = Field(default=0, ge=0, le=100)
    blocks: int = Field(default=16, ge=1, le=1024)


class Patience(Document):
    """How long a campaign waits. It fails when fewer than its minimum of members take part `days_to_join` after it was opened. A
    round ends when every site has answered; sites that are slow or away are left out once `minimum_updates` came; after `seconds`
    it goes on with these, or is begun anew where they are fewer."""

    days_to_join: int = Field(default=30, ge=1, le=3650)
    seconds: float = Field(default=86_400, ge=1, le=2_592_000)
    minimum_updates: int = Field(default=1, ge=1, le=10_000)


class Buffer(Document):
    """Rounds that end as soon as `updates` members gave theirs, started in the same round or up to `most_late` rounds before. One
    that is so many rounds late counts (1 + late) ** -`staleness` of what it would. FedBuff, arXiv:2106.06639."""

    updates: int = Field(ge=1, le=10_000)
    most_late: int = Field(default=10, ge=1, le=100)
    staleness: float = Field(default=0.5, ge=0, le=10)
