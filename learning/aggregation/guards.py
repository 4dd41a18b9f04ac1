"""What is asked of an update before it is averaged. A refusal is a sentence for the member who sent it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from learning.updates import check_update
from trust.errors import Invalid


@dataclass(frozen=True)
class Asked:
    """What is taken: updates of `round` or up to `most_late` rounds before it; `starts` are the digests of the rounds' starts."""

    round: int
    starts: Mapping[int, str]
    most_late: int = 0


@dataclass(frozen=True)
class Offered:
    """What a reply says of its update: the round it answers, the digest of what it started from, and its own digest."""

    round: int
    start: str
    digest: str


def admitted(
    update: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
    offered: Offered,
    asked: Asked,
    taken: Collection[str] = (),
    max_norm_ratio: float = 10.0,
    max_norm: float | None = None,
) -> float:
    """How far the update moves from `reference`, which it should have started from (L2, as `check_update`). `taken` are the
    digests of updates that the campaign has averaged.

    Raises `Invalid` where it must not be averaged. Stale, replayed and misplaced ones are named first, then what `check_update`
    finds: names, shapes, dtypes, values that are not finite, and the bound on its norm.
    """
    if not asked.round - asked.most_late <= offered.round <= asked.round:
        raise Invalid(f"The update is of round {offered.round}; this is round {asked.round}.", field="round")
    if asked.starts.get(offered.round) != offered.start:
        raise Invalid(f"The update did not start from what round {offered.round} sent out.", field="start")
    if offered.digest in taken:
        raise Invalid("The same update was averaged before.", "Train in every round.", field="update")
    return check_update(update, reference, max_norm_ratio, max_norm)
