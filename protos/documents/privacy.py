"""What a campaign guarantees about a member's text, and how much of it a site lets go."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from protos.documents.base import Document

Guarantee = Literal["central", "local"]
"""Who adds the noise: the hub, once, to the mean of all updates, which it sees in the clear; or each site, to its own update,
which protects it from the hub as well."""

_MASKS_APART = (
    "secure aggregation is no guarantee of [privacy]: write [masks], alone or with guarantee"
    ' = "local" beside it (decision 30)'
)


USUAL_DELTA = 1e-6


class Privacy(Document):
    """The guarantee of every round, for a whole member: whether its text was learned from, or nothing in its place.

    An update is brought back to an L2 norm of `clip`, and `noise` times that is the standard deviation of the Gaussian noise.
    All rounds of the campaign together cost at most `maximum_epsilon` at `delta`.
    """

    guarantee: Guarantee
    clip: float = Field(gt=0, le=1e6)
    noise: float = Field(ge=0.01, le=1e6)
    delta: float = Field(gt=0, le=1e-3)
    maximum_epsilon: float = Field(gt=0, le=1e6)

    @field_validator("guarantee", mode="before")
    @classmethod
    def _masks_are_asked_for_apart(cls, value: object) -> object:
        if value in ("secure", "secure-aggregation", "secagg", "secagg+"):
            raise ValueError(_MASKS_APART)
        return value

    def contradiction(self, averaging: str, weighting: str, clip_norm: float | None) -> str:
        """Why a campaign that takes updates together in this way would not hold what it guarantees; empty where it does.

        What sites with noise of their own send is private already, whatever becomes of it.
        """
        if clip_norm is not None:
            return "privacy.clip is the norm that updates are brought back to: leave clip_norm out"
        if self.guarantee == "local":
            return ""
        if averaging != "factors":
            return (
                f"noise of the hub hides a member in a sum, and {averaging} shows single updates or compares them:"
                ' take averaging = "factors", or guarantee = "local"'
            )
        if weighting != "equal":
            return (
                f"noise of the hub is made for members that count the same, and a weight by {weighting} tells of the text:"
                ' take weighting = "equal", or guarantee = "local"'
            )
        return ""


class PrivacyBudget(Document):
    """What a site lets go of in all campaigns together: at most `epsilon` at `delta`. With one, it takes part in no round without
    a guarantee; with `guarantee` "local", in none that shows the hub an update without noise."""

    epsilon: float = Field(gt=0, le=1e6)
    delta: float = Field(default=USUAL_DELTA, gt=0, le=1e-3)
    guarantee: Guarantee = "central"
