"""What an answer costs a site, and whether its campaign's promise and its own budget allow it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from learning.privacy.accounting import epsilon_of, mu_of
from protos.documents.base import DigestText, Document, Identifier
from protos.documents.campaigns import CampaignSpec
from protos.documents.privacy import Privacy, PrivacyBudget
from protos.documents.rounds import RoundTask
from trust.errors import Denied


class Spent(Document):
    """So many `answers` to a campaign, each with noise of this multiplier. `task` is the last that we answered."""

    campaign: Identifier
    noise: float = Field(gt=0)
    answers: int = Field(ge=0)
    task: DigestText | None = None


class Spending(Document):
    """Of the site's member, by campaign."""

    campaigns: tuple[Spent, ...] = ()

    def of(self, campaign: str, noise: float) -> Spent:
        """What was spent on a campaign whose noise is this; nothing yet for one that is new."""
        new = Spent(campaign=campaign, noise=noise, answers=0)
        return next((each for each in self.campaigns if each.campaign == campaign), new)

    def having(self, spent: Spent) -> Spending:
        """The same, with this of its campaign."""
        others = (each for each in self.campaigns if each.campaign != spent.campaign)
        return Spending(campaigns=(*others, spent))

    def besides(self, campaign: str) -> Spending:
        return Spending(campaigns=tuple(each for each in self.campaigns if each.campaign != campaign))

    def mu(self, campaign: str = "") -> float:
        """Of one campaign, or of all together."""
        return mu_of((each.answers, each.noise) for each in self.campaigns if campaign in ("", each.campaign))


NOTHING = Spending()


@dataclass(frozen=True)
class Recorded:
    """Rounds of a campaign that stand in the ledger with an update of ours."""

    campaign: str
    noise: float
    rounds: int


def after(known: Spending, task: RoundTask, privacy: Privacy) -> Spending:
    """What an answer to the task makes of it.

    Where the hub adds the noise, the same task once more costs nothing: a round comes to one model. Noise of our own is new in
    every answer, so every answer counts.
    """
    before = known.of(task.campaign, privacy.noise)
    if privacy.guarantee == "central" and before.task == task.digest:
        return known
    return known.having(before.model_copy(update={"answers": before.answers + 1, "task": task.digest}))


def check_affordable(spending: Spending, task: RoundTask, privacy: Privacy, budget: PrivacyBudget | None) -> None:
    """That what would be spent stays within the campaign's promise and our budget. Raises `Denied`."""
    here = epsilon_of(spending.mu(task.campaign), privacy.delta)
    which = f"Round {task.round} of {task.campaign}"
    if here > privacy.maximum_epsilon:
        raise Denied(
            f"{which} would bring what the campaign cost this site to epsilon {here:.4g} at delta {privacy.delta:g}, over the"
            f" {privacy.maximum_epsilon:g} that it promises."
        )
    if budget is None:
        return
    whole = epsilon_of(spending.mu(), budget.delta)
    if whole > budget.epsilon:
        raise Denied(
            f"{which} would bring what this site spent to epsilon {whole:.4g} at delta {budget.delta:g}, over its budget of"
            f" {budget.epsilon:g}."
        )


def at_least(known: Spending, recorded: Recorded) -> Spending:
    """What the ledger says counts, also where our own record was lost."""
    before = known.of(recorded.campaign, recorded.noise)
    if before.answers >= recorded.rounds:
        return known
    return known.having(before.model_copy(update={"answers": recorded.rounds}))


def unaffordable(budget: PrivacyBudget | None, spec: CampaignSpec, spent: Spending = NOTHING) -> str:
    """Why a campaign is refused: it costs more than it says, or with what was `spent` on others more than the budget has; empty
    when it is not."""
    privacy = spec.privacy
    if privacy is not None:
        promised = epsilon_of(mu_of([(spec.rounds, privacy.noise)]), privacy.delta)
        if promised > privacy.maximum_epsilon:
            return f"its rounds cost epsilon {promised:.4g}, and it promises {privacy.maximum_epsilon:g}"
    if budget is None:
        return ""
    if privacy is None:
        return f"it guarantees no privacy, and the site's budget is epsilon {budget.epsilon:g}"
    if budget.guarantee == "local" and privacy.guarantee != "local":
        return "the hub would see updates without noise, and the site's policy asks for noise of its own"
    whole = epsilon_of(math.hypot(mu_of([(spec.rounds, privacy.noise)]), spent.mu()), budget.delta)
    if whole > budget.epsilon:
        before = " with what was spent before" if spent.campaigns else ""
        return (
            f"its rounds cost epsilon {whole:.4g} at delta {budget.delta:g}{before}, and the site's budget is"
            f" {budget.epsilon:g}"
        )
    return ""
