"""Campaigns of federated rounds: what the core team opens, members consent to, and the hub records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from protos.documents.base import Claim, DigestText, Document, FileEntry, Identifier, Name, Text
from protos.documents.jurisdictions import Country


class Adapter(Document):
    """The trainable part: LoRA on the named linear modules."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LocalTraining(Document):
    """What each site does in a round. `proximal` is FedProx's mu: how firmly an update is held to where the round began."""

    steps: int = Field(ge=1, le=1_000_000)
    batch_size: int = Field(ge=1, le=65_536)
    sequence_length: int = Field(ge=16, le=1_048_576)
    learning_rate: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    proximal: float = Field(default=0, ge=0, le=1000)


Objective = Literal["continued-training", "sft", "dpo"]
"""What a site minimises: the loss of its texts; of what the assistant says in its conversations (supervised fine-tuning); or of
its preferences between two answers."""


Averaging = Literal["factors", "products", "median", "trimmed-mean", "krum", "multi-krum"]
_NEEDED = {"median": (1, 2), "trimmed-mean": (1, 2), "krum": (3, 2), "multi-krum": (3, 2)}
"""Updates that a rule needs: so many, and so many more for each bad one that it stands up to."""


class Preferences(Document):
    """DPO's beta, and ODPO's alpha: how much further apart an answer is to be that was scored higher; 0 is plain DPO."""

    beta: float = Field(default=0.1, gt=0, le=100)
    offset: float = Field(default=0, ge=0, le=100)


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


class CampaignSpec(Document):
    """The content of SPEC.toml for `coalition campaign open`. It starts when `minimum_members` have joined.

    `averaging` says how a round's updates become one: by the mean of the adapters' factors A and B apart or, exactly, of their
    products; or by a rule that stands up to `bad_updates` of them. Before, each is brought back to `clip_norm` (L2, from where
    the round began). No member's part in a mean exceeds `maximum_share`, as long as the members can fill it.
    """

    name: Name
    base_model: Identifier
    objective: Objective = "continued-training"
    preferences: Preferences = Preferences()
    strategy: Literal["fedavg", "diloco", "fedadam", "fedyogi"] = "fedavg"
    server: Server | None = None
    averaging: Averaging = "factors"
    bad_updates: int = Field(default=1, ge=0, le=1000)
    clip_norm: float | None = Field(default=None, gt=0)
    maximum_share: float = Field(default=1, gt=0, le=1)
    weighting: Literal["equal", "examples"] = "equal"
    rounds: int = Field(ge=1, le=10_000)
    minimum_members: int = Field(ge=1, le=10_000)
    adapter: Adapter = Adapter()
    transfer: Transfer = Transfer()
    training: LocalTraining

    @model_validator(mode="after")
    def _a_step_where_one_is_taken(self) -> CampaignSpec:
        if self.strategy == "fedavg" and self.server is not None:
            raise ValueError("fedavg takes the mean as it is: leave [server] out")
        if self.strategy != "fedavg" and self.server is None:
            raise ValueError(f"{self.strategy} needs [server] with a rate")
        return self

    def updates_needed(self, bad_seen: int = 0) -> int:
        """Valid updates without which a round comes to nothing, when `bad_seen` bad ones were turned away already."""
        least, each = _NEEDED.get(self.averaging, (1, 0))
        return least + each * max(0, self.bad_updates - bad_seen)

    @model_validator(mode="after")
    def _enough_for_the_rule(self) -> CampaignSpec:
        needed = self.updates_needed()
        if self.minimum_members < needed:
            raise ValueError(
                f"{self.averaging} needs minimum_members of {needed} for bad_updates of {self.bad_updates}"
            )
        if self.averaging in _NEEDED and (self.weighting != "equal" or self.maximum_share < 1):
            raise ValueError(f"{self.averaging} weighs all updates the same: leave weighting and maximum_share out")
        return self


class Campaign(Claim):
    """Signed by a core member: open this campaign."""

    spec: CampaignSpec


class Consent(Claim):
    """Signed by a member: our site takes part in this campaign, with this SuperNode key (its SHA-256)."""

    campaign: Identifier
    site_key: DigestText


class RoundTask(Document):
    """What the hub asks of a site in one round. The files travel beside it; the site holds the spec it consented to."""

    campaign: Identifier
    round: int = Field(ge=1, le=10_000)
    spec: CampaignSpec
    files: tuple[FileEntry, ...] = Field(min_length=1, max_length=100)

    @property
    def seed(self) -> int:
        """The same at every site, so that all start the round from one adapter."""
        return self.spec.training.seed + self.round


class Learned(Document):
    """A dataset of the site's member that an update learned from, and the tokens trained on: its share of the site's text."""

    dataset: Identifier
    tokens: int = Field(ge=0, le=1 << 50)


class RoundReply(Document):
    """A site's answer. Losses are nats per token; `update` is the digest of the adapter that travels beside it, `data` is what
    it learned from.

    A `refusal` says why there is no update.
    """

    campaign: Identifier
    round: int = Field(ge=1, le=10_000)
    refusal: str = Field(default="", max_length=500)
    update: DigestText | None = None
    examples: int = Field(default=0, ge=0, le=1 << 40)
    tokens: int = Field(default=0, ge=0, le=1 << 50)
    loss_first: float = Field(default=0, ge=0)
    loss_last: float = Field(default=0, ge=0)
    data: tuple[Learned, ...] = Field(default=(), max_length=1000)


def site_challenge(hub: str, member: str, nonce: bytes, site_key: DigestText) -> bytes:
    """What a site's key signs to be registered: possession now, for this hub and member only."""
    return b"\n".join([b"coalition site v1", hub.encode(), member.encode(), nonce.hex().encode(), site_key.encode()])


class CampaignEnd(Claim):
    """Signed by the hub: the campaign is over."""

    campaign: Identifier
    outcome: Literal["finished", "failed", "stopped"]
    reason: str = Field(default="", max_length=2000)


class SitePolicy(Document):
    """`site.toml` in the member's home: where the site stands, and what it agrees to without being asked.

    A file that names no `objectives` is of the time when there was but one, and agrees to no other.
    """

    data: Text
    country: Country = ""
    join: Literal["all", "ask"] = "ask"
    maximum_rounds: int = Field(default=100, ge=1)
    objectives: tuple[Objective, ...] = ("continued-training",)
