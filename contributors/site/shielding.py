"""What of a round's training may leave a site whose campaign guarantees privacy."""

from __future__ import annotations

from dataclasses import replace

from contributors.site.training import Trained
from learning.aggregation.robust import clipped
from learning.privacy.means import PrivateMean
from learning.privacy.noise import Random
from protos.documents.privacy import Privacy


def shielded(trained: Trained, privacy: Privacy | None, random: Random) -> Trained:
    """The same with the adapter clipped to the campaign's norm, and with noise where the site adds it."""
    if privacy is None:
        return trained
    if privacy.guarantee == "central":
        adapter, _ = clipped(trained.adapter, trained.start, privacy.clip)
        return replace(trained, adapter=adapter)
    alone = PrivateMean(trained.start, privacy.clip, privacy.noise, random)
    alone.add(trained.adapter)
    return replace(trained, adapter=alone.result())
