"""Campaigns of federated rounds: what the core team opens, members consent to, and the hub records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from protos.documents.base import Claim, DigestText, Document, Identifier, Name, Text


class Adapter(Document):
    """The trainable part: LoRA on the named linear modules."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LocalTraining(Document):
    """What each site does in a round."""

    steps: int = Field(ge=1, le=1_000_000)
    batch_size: int = Field(ge=1, le=65_536)
    sequence_length: int = Field(ge=16, le=1_048_576)
    learning_rate: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0)


class CampaignSpec(Document):
    """The content of SPEC.toml for `coalition campaign open`. It starts when `minimum_members` have joined."""

    name: Name
    base_model: Identifier
    objective: Literal["continued-training"] = "continued-training"
    strategy: Literal["fedavg"] = "fedavg"
    weighting: Literal["equal", "examples"] = "equal"
    rounds: int = Field(ge=1, le=10_000)
    minimum_members: int = Field(ge=1, le=10_000)
    adapter: Adapter = Adapter()
    training: LocalTraining


class Campaign(Claim):
    """Signed by a core member: open this campaign."""

    spec: CampaignSpec


class Consent(Claim):
    """Signed by a member: our site takes part in this campaign, with this SuperNode key (its SHA-256)."""

    campaign: Identifier
    site_key: DigestText


class CampaignEnd(Claim):
    """Signed by the hub: the campaign is over."""

    campaign: Identifier
    outcome: Literal["finished", "failed", "stopped"]
    reason: str = Field(default="", max_length=2000)


class SitePolicy(Document):
    """`site.toml` in the member's home: what this site agrees to without being asked."""

    data: Text
    join: Literal["all", "ask"] = "ask"
    maximum_rounds: int = Field(default=100, ge=1)
