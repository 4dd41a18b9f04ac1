"""What the hub asks of a site in a round, and what the site answers."""

from __future__ import annotations

from pydantic import Field

from protos.documents.base import DigestText, Document, FileEntry, Identifier
from protos.documents.campaigns import CampaignSpec
from protos.documents.rewards import Rewarded
from trust.canonical import emit
from trust.digests import Digest, digest_bytes

CONTROL = "control.safetensors"
"""SCAFFOLD's common control variate, a file of the task beside the model's."""


class Counted(Document):
    """The digest of a member's update."""

    member: Identifier
    update: DigestText


class Control(Document):
    """SCAFFOLD: each member's update that counted last, since the members last changed."""

    counted: tuple[Counted, ...] = Field(default=(), max_length=10_000)

    def of(self, member: str) -> Digest | None:
        return next((Digest(each.update) for each in self.counted if each.member == member), None)


class RoundTask(Document):
    """What the hub asks of a site in one round. The files travel beside it; the site holds the spec it consented to."""

    campaign: Identifier
    round: int = Field(ge=1, le=10_000)
    spec: CampaignSpec
    files: tuple[FileEntry, ...] = Field(min_length=1, max_length=100)
    control: Control | None = None

    @property
    def digest(self) -> Digest:
        """What a reply names, so that it answers this task and no other: not one of a round that was begun anew."""
        return digest_bytes(emit(self.model_dump(mode="json")))

    @property
    def seed(self) -> int:
        """The same at every site."""
        return self.spec.training.seed + self.round

    @property
    def model(self) -> frozenset[FileEntry]:
        """Its files less what is beside the model."""
        return frozenset(each for each in self.files if self.control is None or each.path != CONTROL)


class Learned(Document):
    """A dataset of the site's member that an update learned from, and the tokens trained on: its share of the site's text."""

    dataset: Identifier
    tokens: int = Field(ge=0, le=1 << 50)


class RoundReply(Document):
    """A site's answer to the task of this digest. Losses are nats per token; GRPO's may be below 0, and `rewarded` says more.
    `update` is the digest of the adapter that travels beside it, `data` is what it learned from.

    A `refusal` says why there is no update. In a campaign with privacy there are no losses: noise does not hide them.
    """

    campaign: Identifier
    round: int = Field(ge=1, le=10_000)
    task: DigestText | None = None
    refusal: str = Field(default="", max_length=500)
    update: DigestText | None = None
    examples: int = Field(default=0, ge=0, le=1 << 40)
    tokens: int = Field(default=0, ge=0, le=1 << 50)
    loss_first: float = Field(default=0, ge=-1000)
    loss_last: float = Field(default=0, ge=-1000)
    rewarded: Rewarded | None = None
    data: tuple[Learned, ...] = Field(default=(), max_length=1000)
