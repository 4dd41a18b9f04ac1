"""What a campaign guarantees, in words, and what its rounds have cost each member, as the ledger has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

from learning.privacy.accounting import epsilon_of, mu_of
from protos.documents.campaigns import CampaignSpec
from protos.documents.models import Contribution
from protos.documents.privacy import Privacy
from trust.errors import Invalid


@dataclass(frozen=True)
class Told:
    """Of a member, in one round: its noise multiplier, or None where the campaign guarantees nothing."""

    campaign: str
    member: str
    noise: float | None


@dataclass(frozen=True)
class Spent:
    """What a member's `rounds` of a campaign cost at `delta`, what those of all campaigns cost, and how many had no guarantee."""

    member: str
    rounds: int
    epsilon: float
    epsilon_everywhere: float
    delta: float
    rounds_without: int


def check_promise(spec: CampaignSpec) -> None:
    """That all rounds together cost no more than the spec says. Raises `Invalid`."""
    privacy = spec.privacy
    if privacy is None:
        return
    cost = _epsilon([(spec.rounds, privacy.noise)], privacy)
    if cost > privacy.maximum_epsilon:
        raise Invalid(
            f"{spec.rounds} rounds with noise of {privacy.noise:g} cost epsilon {cost:.4g} at delta {privacy.delta:g}, over"
            f" maximum_epsilon of {privacy.maximum_epsilon:g}.",
            "Ask for fewer rounds or more noise, or promise less.",
            field="privacy.maximum_epsilon",
        )


def promise(spec: CampaignSpec) -> str:
    """What is guaranteed and what is not; empty where nothing is."""
    return " ".join(part for part in (_noise(spec), _masks(spec)) if part)


def _masks(spec: CampaignSpec) -> str:
    """What masks hide, and what they do not; empty where there are none."""
    masks = spec.masks
    if masks is None:
        return ""
    members, helped = spec.minimum_members, masks.colluding
    if helped:
        who = f"the hub, also with what {helped} of a round's members tell{'s' if helped == 1 else ''} it"
    else:
        who = "the hub, as long as no member of the round helps it"
    noise = "" if spec.privacy else " What sums and models tell is bounded by no noise."
    return (
        f"Updates leave a site under masks: {who}, learns the sum of those that are in it, of {members} members at least"
        f" {masks.threshold(members)}, and no single update.{noise} Sums of several rounds can be compared, above all where a"
        " member is in one of them only. Nobody can look at a single update: each site brings its own back to the norm, and who"
        " does not can move a round's mean anywhere within it."
    )


def _noise(spec: CampaignSpec) -> str:
    privacy = spec.privacy
    if privacy is None:
        return ""
    cost = _epsilon([(spec.rounds, privacy.noise)], privacy)
    bound = f"{_rounds(spec.rounds)} together cost a member at most epsilon {_up(cost)} at delta {privacy.delta:g}"
    noise = f"Gaussian noise of {privacy.noise:g} times that"
    open_to_all = "That it takes part, and how much text it has, is not hidden."
    if privacy.guarantee == "central":
        return (
            f"Every update is clipped to an L2 norm of {privacy.clip:g}, and the hub adds {noise} to their sum: {bound},"
            f" its text against none. The hub sees every update without noise. {open_to_all}"
        )
    return (
        f"Every site clips its update to an L2 norm of {privacy.clip:g} and adds {noise} before it leaves: {bound}, its text"
        f" against none, towards everybody and the hub too.{_adding_up(spec, privacy)} {open_to_all}"
    )


def told(campaign: str, spec: CampaignSpec, contributions: Iterable[Contribution]) -> Iterator[Told]:
    """By a recorded round: of each member whose update was taken, also where it was left out in the end."""
    for part in contributions:
        if not part.excluded or part.examples:
            yield Told(campaign, part.member, spec.privacy.noise if spec.privacy else None)


def spent(campaign: str, privacy: Privacy, known: Iterable[Told]) -> tuple[Spent, ...]:
    """Of each member with an update in the campaign, by name; `known` are the rounds of all campaigns."""
    everything = list(known)
    found = []
    for member in sorted({each.member for each in everything if each.campaign == campaign}):
        ours = [each for each in everything if each.member == member]
        noises = [(each.campaign, each.noise) for each in ours if each.noise is not None]
        here = [(1, noise) for where, noise in noises if where == campaign]
        everywhere = _epsilon([(1, noise) for _, noise in noises], privacy)
        without = len(ours) - len(noises)
        found.append(Spent(member, len(here), _epsilon(here, privacy), everywhere, privacy.delta, without))
    return tuple(found)


def _adding_up(spec: CampaignSpec, privacy: Privacy) -> str:
    members = spec.minimum_members
    if spec.averaging != "factors" or spec.weighting != "equal" or members < 2:
        return ""
    cost = _epsilon([(spec.rounds, privacy.noise * math.sqrt(members))], privacy)
    return (
        f" In a mean of {members} the noise adds up: towards those who see models alone, and as long as no member tells its own,"
        f" to epsilon {_up(cost)}."
    )


def _epsilon(answers: Iterable[tuple[int, float]], privacy: Privacy) -> float:
    return epsilon_of(mu_of(answers), privacy.delta)


def _up(epsilon: float) -> str:
    """In three digits, and no less than it is."""
    return f"{Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(epsilon):f}"


def _rounds(count: int) -> str:
    return "its round" if count == 1 else f"all {count} rounds"
