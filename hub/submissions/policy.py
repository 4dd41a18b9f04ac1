"""What this hub takes, and what it does with what is withdrawn: its settings as the submissions room sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hub.settings import Settings
from protos.documents.licences import LicencePolicy, check_licence
from protos.documents.placing import Place, Terms, may_use
from protos.documents.submissions import Dataset, Reward, Submission
from trust.errors import Invalid


@dataclass(frozen=True)
class Policy:
    """`place` is the hub itself; `purge_grace` the days from a withdrawal to its purge, None where the bytes are kept."""

    place: Place
    licences: LicencePolicy
    core_may_withdraw: bool = False
    purge_grace: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        place = Place("hub", settings.name, settings.country)
        return cls(place, settings.licences, settings.core_may_withdraw, settings.purge_grace)

    def check(self, claim: Submission, identifier: str) -> None:
        """That this hub may take the submission, before any of its bytes come. Raises `Invalid`."""
        if isinstance(claim, Reward):
            return  # it is for everybody to read, and holds nobody's text
        check_licence(claim.licence)
        if refusal := self.licences.refusal(claim.licence):
            raise Invalid(refusal, "See `coalition data policy`.", field="licence")
        if isinstance(claim, Dataset) and not claim.at_home:
            terms = Terms(identifier, claim.category, claim.jurisdiction, claim.signer)
            if why := may_use(terms, self.place):
                raise Invalid(f"{why}.", "Widen its jurisdiction, or submit it as private.", field="jurisdiction")


DEFAULT = Policy(Place("hub", "here"), LicencePolicy())
