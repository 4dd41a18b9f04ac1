"""Campaigns of federated rounds: what the core team opens, members consent to, and the hub records."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from protos.documents.base import Claim, DigestText, Document, Identifier, Name, Text
from protos.documents.jurisdictions import Country
from protos.documents.masking import Masks
from protos.documents.methods import (
    NEEDED,
    Adapter,
    Averaging,
    Buffer,
    Experts,
    LocalTraining,
    Objective,
    Part,
    Patience,
    Preferences,
    Quality,
    Rewards,
    Server,
    Transfer,
)
from protos.documents.privacy import Privacy, PrivacyBudget
from trust.canonical import parse
from trust.errors import Invalid


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
    rewards: Rewards | None = None
    strategy: Literal["fedavg", "diloco", "fedadam", "fedyogi", "scaffold"] = "fedavg"
    server: Server | None = None
    averaging: Averaging = "factors"
    bad_updates: int = Field(default=1, ge=0, le=1000)
    clip_norm: float | None = Field(default=None, gt=0)
    maximum_share: float = Field(default=1, gt=0, le=1)
    weighting: Literal["equal", "examples", "quality"] = "equal"
    quality: Quality | None = None
    rounds: int = Field(ge=1, le=10_000)
    minimum_members: int = Field(ge=1, le=10_000)
    patience: Patience = Patience()
    buffer: Buffer | None = None
    trainable: Part = "adapter"
    adapter: Adapter = Adapter()
    experts: Experts | None = None
    transfer: Transfer = Transfer()
    privacy: Privacy | None = None
    masks: Masks | None = None
    training: LocalTraining

    @model_validator(mode="after")
    def _a_step_where_one_is_taken(self) -> CampaignSpec:
        plain = self.strategy in ("fedavg", "scaffold")
        if plain and self.server is not None:
            raise ValueError(f"{self.strategy} takes the mean as it is: leave [server] out")
        if not plain and self.server is None:
            raise ValueError(f"{self.strategy} needs [server] with a rate")
        return self

    @model_validator(mode="after")
    def _what_control_variates_speak_of(self) -> CampaignSpec:
        if self.strategy != "scaffold":
            return self
        others = {
            'objective = "grpo"': self.objective == "grpo",
            f'averaging = "{self.averaging}"': self.averaging != "factors",
            f'weighting = "{self.weighting}"': self.weighting != "equal",
            "maximum_share": self.maximum_share < 1,
            "clip_norm": self.clip_norm is not None,
            "training.proximal": self.training.proximal > 0,
            "[transfer]": self.transfer.how != "fp32",
            "[buffer]": self.buffer is not None,
            "[privacy]": self.privacy is not None,
        }
        if wrong := [name for name, given in others.items() if given]:
            raise ValueError(f"scaffold reads gradients from the plain mean of whole updates: leave {wrong[0]} out")
        return self

    def trained(self, member: str | None = None) -> dict[str, Any]:
        """What trains at a member's site, or at any, in the words of `learning.trainable`."""
        if self.experts is not None:
            return {"part": "experts", "experts": self.experts.of(member), "router": self.experts.router}
        if self.trainable == "full":
            return {"part": "full"}
        adapter = self.adapter
        shape = {"rank": adapter.rank, "alpha": adapter.alpha, "targets": adapter.targets}
        return {"part": "adapter", "magnitudes": adapter.method == "dora", **shape}

    @property
    def part(self) -> str:
        """What trains, in words."""
        if self.experts is not None:
            return self.experts.described
        return "all weights" if self.trainable == "full" else self.adapter.described

    @model_validator(mode="after")
    def _one_part_that_trains(self) -> CampaignSpec:
        if (self.experts is not None) != (self.trainable == "experts"):
            raise ValueError('trainable = "experts" and [experts] go together: give both, or none')
        if self.trainable == "adapter":
            return self
        what = f'trainable = "{self.trainable}"'
        if self.adapter != Adapter():
            raise ValueError(f"{what} has no use for [adapter]: leave it out")
        if self.averaging == "products":
            raise ValueError(f'products are those of an adapter\'s factors: with {what} take averaging = "factors"')
        if self.strategy == "scaffold":
            raise ValueError(f"scaffold's control variates are of an adapter's B: with {what} take another strategy")
        return self

    @model_validator(mode="after")
    def _nothing_that_needs_all_updates_alike(self) -> CampaignSpec:
        own = self.experts.own if self.experts else None
        if own is None:
            return self
        others = {
            f'averaging = "{self.averaging}"': self.averaging != "factors",
            "maximum_share": self.maximum_share < 1,
            "[masks]": self.masks is not None,
            '[privacy] with guarantee = "central"': self.privacy is not None and self.privacy.guarantee == "central",
        }
        if wrong := [name for name, given in others.items() if given]:
            raise ValueError(
                f"an expert of one member's own stands alone in a round, with no other to hide among or be compared"
                f" with: leave {wrong[0]} out, or train common experts"
            )
        if len(own) < self.minimum_members:
            raise ValueError(f"[experts] names the own ones of {len(own)}, fewer than minimum_members")
        return self

    @model_validator(mode="after")
    def _magnitudes_where_they_can_be(self) -> CampaignSpec:
        if self.adapter.method == "lora":
            return self
        if self.averaging == "products":
            raise ValueError(
                "what DoRA adds to a weight is no product, which could be averaged exactly: take LoRA, or"
                ' averaging = "factors"'
            )
        if self.looks_back:
            raise ValueError(
                f"{self.strategy} reads from updates alone how the weights changed, and DoRA's say it together with the"
                " model: take LoRA"
            )
        return self

    @property
    def looks_back(self) -> bool:
        """Whether a round depends on the updates of all rounds before."""
        return self.server is not None or self.strategy == "scaffold"

    def start_seed(self, number: int) -> int:
        """Of the adapter that round `number` starts from, the same at every site. SCAFFOLD's A is one for all rounds, and only B
        trains: control variates are gradients at B, and speak of the rounds before by the same A."""
        return self.training.seed if self.strategy == "scaffold" else self.training.seed + number

    def updates_needed(self, bad_seen: int = 0) -> int:
        """Valid updates without which a round comes to nothing, when `bad_seen` bad ones were turned away already."""
        least, each = NEEDED.get(self.averaging, (1, 0))
        return least + each * max(0, self.bad_updates - bad_seen)

    @model_validator(mode="after")
    def _no_more_updates_than_members(self) -> CampaignSpec:
        if self.patience.minimum_updates > self.minimum_members:
            raise ValueError("a round cannot need more updates than minimum_members")
        return self

    @model_validator(mode="after")
    def _a_buffer_of_what_can_be_late(self) -> CampaignSpec:
        if self.buffer is None:
            return self
        if self.averaging != "products":
            raise ValueError('a late update can be added by its product alone: [buffer] needs averaging = "products"')
        if self.buffer.updates > self.minimum_members:
            raise ValueError("a member gives a round one update: [buffer] cannot wait for more than minimum_members")
        if self.buffer.updates < self.patience.minimum_updates:
            raise ValueError("a round ends when the buffer is full: it cannot need more minimum_updates")
        return self

    @model_validator(mode="after")
    def _measured_where_it_weighs(self) -> CampaignSpec:
        if self.weighting == "quality" and self.quality is None:
            raise ValueError("weighting by quality needs [quality] with the dataset that it is measured on")
        if self.quality and self.privacy and self.privacy.guarantee == "central":
            raise ValueError("quality tells of every update before noise is added: leave [quality] or [privacy] out")
        return self

    @model_validator(mode="after")
    def _enough_for_the_rule(self) -> CampaignSpec:
        needed = self.updates_needed()
        if self.minimum_members < needed:
            raise ValueError(
                f"{self.averaging} needs minimum_members of {needed} for bad_updates of {self.bad_updates}"
            )
        if self.averaging in NEEDED and (self.weighting != "equal" or self.maximum_share < 1):
            raise ValueError(f"{self.averaging} weighs all updates the same: leave weighting and maximum_share out")
        return self

    @model_validator(mode="after")
    def _nothing_against_the_guarantee(self) -> CampaignSpec:
        if self.privacy and (why := self.privacy.contradiction(self.averaging, self.weighting, self.clip_norm)):
            raise ValueError(why)
        if self.privacy and self.transfer.feedback:
            raise ValueError("feedback would send later what a guarantee of privacy clipped: leave it out")
        return self

    @model_validator(mode="after")
    def _nothing_against_the_masks(self) -> CampaignSpec:
        if self.masks is None:
            return self
        if self.clip_norm is None and self.privacy is None:
            raise ValueError("masked updates need a norm that every site brings its own back to: give clip_norm")
        why = self.masks.contradiction(
            averaging=self.averaging,
            weighting=self.weighting,
            how=self.transfer.how,
            looks=self.quality is not None,
            maximum_share=self.maximum_share,
            members=self.minimum_members,
            hub_noise=self.privacy is not None and self.privacy.guarantee == "central",
        )
        if why:
            raise ValueError(why)
        return self

    @property
    def withholds(self) -> bool:
        """Whether losses, rewards and norms of single members are told to nobody."""
        return self.privacy is not None or self.masks is not None

    @property
    def largest_value(self) -> float:
        """What no value of a change exceeds once it is clipped; with noise of the site, but once in 10^15 draws."""
        if self.privacy is not None:
            return self.privacy.clip * (1 + 8 * self.privacy.noise)
        return self.clip_norm or 0.0

    @model_validator(mode="after")
    def _rewards_where_they_teach(self) -> CampaignSpec:
        given, training = self.rewards, self.training
        if (given is not None) != (self.objective == "grpo"):
            raise ValueError(
                f"the objective {self.objective} {'needs' if given is None else 'has no use for'} [rewards]"
            )
        if given is None:
            return self
        if len(set(given.policies)) < len(given.policies):
            raise ValueError("[rewards] names a policy twice")
        if training.batch_size % given.group:
            raise ValueError(f"batch_size of {training.batch_size} completions makes no whole groups of {given.group}")
        if given.max_new_tokens >= training.sequence_length:
            raise ValueError(
                f"max_new_tokens of {given.max_new_tokens} leaves a prompt no room in sequence_length of "
                f"{training.sequence_length}"
            )
        return self

    @property
    def generated(self) -> int:
        """Tokens that a site's model writes in a round, at most."""
        if self.rewards is None:
            return 0
        turns = -(-self.training.steps // self.rewards.passes)
        return turns * self.training.batch_size * self.rewards.max_new_tokens


def part_of(spec: str) -> str | None:
    """What trains, in words, by a spec's JSON; None where it is none, or of another version."""
    try:
        return CampaignSpec.read(parse(spec.encode())).part
    except Invalid:
        return None


class Campaign(Claim):
    """Signed by a core member: open this campaign."""

    spec: CampaignSpec


class Consent(Claim):
    """Signed by a member: our site takes part in this campaign, with this SuperNode key (its SHA-256)."""

    campaign: Identifier
    site_key: DigestText


class Hold(Claim):
    """Signed by a core member: nothing is done for the campaign while it is paused. `turn` counts these statements of the
    campaign from 1, so that none can be said again later."""

    campaign: Identifier
    turn: int = Field(ge=1, le=1_000_000)
    state: Literal["paused", "resumed"]
    why: Text


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

    A campaign may have its model write `maximum_generated` tokens in a round, and train what `trainable` names. `hours` are those
    at which the site trains, in UTC, as "22:00-06:00"; empty for all.
    A file that names no `objectives` is of the time when there was but one, and agrees to no other; one that names nothing
    `trainable` agrees to adapters alone.
    """

    data: Text
    country: Country = ""
    join: Literal["all", "ask"] = "ask"
    maximum_rounds: int = Field(default=100, ge=1)
    maximum_generated: int = Field(default=10_000_000, ge=0)
    objectives: tuple[Objective, ...] = ("continued-training",)
    trainable: tuple[Part, ...] = ("adapter",)
    hours: str = Field(default="", pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")
    privacy: PrivacyBudget | None = None
