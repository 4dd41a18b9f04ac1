"""Sums under masks: what a campaign asks for, and what hub and sites say to one another about one sum.

The protocol is that of Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017, for an
active adversary (decision 30). Bytes are hex.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from protos.documents.base import DigestText, Document, Identifier
from trust.canonical import emit
from trust.digests import digest_bytes

MOST_SEATS = 1000
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{132}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){8,120}$")]
_Box = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){28,512}$")]
_Pem = Annotated[str, StringConstraints(max_length=1000)]


class Masks(Document):
    """Updates leave a site under masks: the hub learns their sum alone, as long as at most `colluding` members of a round tell it
    what they know."""

    colluding: int = Field(default=1, ge=0, le=MOST_SEATS)

    @property
    def least_members(self) -> int:
        """Below, a sum would be of one honest member and those that collude."""
        return self.colluding + 3

    def threshold(self, seats: int) -> int:
        """Members whose shares open a mask, of so many: any two groups of so many have an honest member in common."""
        return (seats + self.colluding) // 2 + 1

    def contradiction(
        self,
        *,
        averaging: str,
        weighting: str,
        how: str,
        looks: bool,
        maximum_share: float,
        members: int,
        hub_noise: bool,
    ) -> str:
        """Why a campaign that takes updates together in this way cannot do it under masks; empty where it can."""
        if averaging != "factors":
            return f'under masks there is but the sum of updates, and {averaging} looks at each: take averaging = "factors"'
        if weighting != "equal" or maximum_share < 1:
            return 'under masks all updates weigh the same: take weighting = "equal" and leave maximum_share out'
        if looks:
            return "quality is measured on single updates, which masks hide: leave [quality] or [masks] out"
        if how != "fp32":
            return f"masked updates travel as whole numbers of 32 bits, and {how} does not add up: leave [transfer] out"
        if hub_noise:
            return (
                "noise of the hub is made for updates that it sees and clips, and masks hide them: take"
                ' guarantee = "local", or leave [masks] out'
            )
        if members < self.least_members:
            return (
                f"masks against a hub and {self.colluding} colluding need minimum_members of {self.least_members}; colluding = 0"
                " needs 3, and trusts every member of a round not to help the hub"
            )
        return ""


class Seat(Document):
    """A member in a sum, and the digest of its site's key, which its consent names."""

    member: Identifier
    site_key: DigestText


class Session(Document):
    """One attempt at a round's sum. `task` is the digest of the round's task, `nonce` makes every attempt another one."""

    campaign: Identifier
    round: int = Field(ge=1, le=10_000)
    task: DigestText
    nonce: Key
    seats: tuple[Seat, ...] = Field(min_length=2, max_length=MOST_SEATS)

    @model_validator(mode="after")
    def _each_seat_once(self) -> Session:
        for values in (self.members, tuple(sorted(seat.site_key for seat in self.seats))):
            if list(values) != sorted(set(values)):
                raise ValueError("the seats of a sum are of different members, in the order of their names")
        return self

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(seat.member for seat in self.seats)

    @property
    def id(self) -> bytes:
        """What all that is signed, sealed or derived for this attempt is bound to."""
        return digest_bytes(emit(self.model_dump(mode="json"))).encode()

    def point(self, member: str) -> int:
        """Where its shares of secrets are taken, from 1."""
        return self.members.index(member) + 1

    def keys_text(self, member: str, mask: str, seal: str) -> bytes:
        """What a site signs of its one-time keys."""
        return b"\n".join([b"coalition masks keys v1", self.id, member.encode(), mask.encode(), seal.encode()])

    def survivors_text(self, survivors: tuple[str, ...]) -> bytes:
        """What a site signs of those whose masked updates make the sum."""
        return b"\n".join([b"coalition masks survivors v1", self.id, *(name.encode() for name in survivors)])

    def mask_context(self) -> bytes:
        return b"coalition masks pair v1\n" + self.id

    def box_context(self) -> bytes:
        return b"coalition masks box v1\n" + self.id

    def box_about(self, sender: str, to: str) -> bytes:
        return b"\n".join([b"coalition masks shares v1", self.id, sender.encode(), to.encode()])


class OneTimeKeys(Document):
    """A member's public keys for one session, to agree on masks and to be sealed to; `site_key` is SPKI PEM and signed them."""

    member: Identifier
    mask: Key
    seal: Key
    site_key: _Pem
    signature: Signature


class Box(Document):
    """`sender`'s shares for `to`, sealed."""

    sender: Identifier
    to: Identifier
    sealed: _Box


class SignedSurvivors(Document):
    """A member's signature of who is in the sum."""

    member: Identifier
    signature: Signature


class Opened(Document):
    """A share of a member's secret: of the seed of its own mask where it is in the sum, of its mask key where it is not."""

    member: Identifier
    share: Share


class AskKeys(Document):
    stage: Literal["keys"] = "keys"


class AskShares(Document):
    """The keys of all that gave some."""

    stage: Literal["shares"] = "shares"
    keys: tuple[OneTimeKeys, ...] = Field(max_length=MOST_SEATS)


class AskMasked(Document):
    """What all that shared their secrets sealed for this member. The round's task and files come beside it."""

    stage: Literal["masked"] = "masked"
    boxes: tuple[Box, ...] = Field(max_length=MOST_SEATS)


class AskSurvivors(Document):
    """Those whose masked updates came, which would make the sum."""

    stage: Literal["survivors"] = "survivors"
    survivors: tuple[Identifier, ...] = Field(max_length=MOST_SEATS)


class AskOpening(Document):
    """The signatures under that list."""

    stage: Literal["opening"] = "opening"
    signatures: tuple[SignedSurvivors, ...] = Field(max_length=MOST_SEATS)


Ask = Annotated[AskKeys | AskShares | AskMasked | AskSurvivors | AskOpening, Field(discriminator="stage")]


class Asked(Document):
    """A message of the hub to a site."""

    session: Session
    ask: Ask


class GiveKeys(Document):
    stage: Literal["keys"] = "keys"
    keys: OneTimeKeys


class GiveShares(Document):
    """`seed` is the digest of what the member's own mask comes from, so that a wrong share of it is noticed."""

    stage: Literal["shares"] = "shares"
    seed: DigestText
    boxes: tuple[Box, ...] = Field(max_length=MOST_SEATS)


class GiveSurvivors(Document):
    stage: Literal["survivors"] = "survivors"
    signed: SignedSurvivors


class GiveOpening(Document):
    stage: Literal["opening"] = "opening"
    opened: tuple[Opened, ...] = Field(max_length=MOST_SEATS)


class Refuse(Document):
    stage: Literal["refusal"] = "refusal"
    why: str = Field(min_length=1, max_length=500)


class Given(Document):
    """A site's answer; to `AskMasked` the round's reply and the masked update are the answer."""

    session: DigestText
    give: Annotated[GiveKeys | GiveShares | GiveSurvivors | GiveOpening | Refuse, Field(discriminator="stage")]
