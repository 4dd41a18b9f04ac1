"""What a round's updates take of the server app's memory: less than twice an update, by whatever rule, of however many sites."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from hub.rounds.gathering import Gathering
from learning.shelf import Shelf, map_tensors, write_tensors
from protos.documents.campaigns import CampaignSpec

LAYERS, RANK, WIDE = 32, 8, 15 << 10
UPDATE = 4 * LAYERS * RANK * (WIDE + 16)  # bytes
TRAINING = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}


class Held:
    """The most that this process held beyond what it held before, in bytes, without what is mapped from files."""

    def __enter__(self) -> Held:
        self._before, self.bytes = self._now(), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.bytes = max(self.bytes, self._now() - self._before)

    def _now(self) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def _spec(**more: Any) -> CampaignSpec:
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 1, "minimum_members": 5, "training": TRAINING}
    return CampaignSpec.read({**given, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"clip_norm": 1.0},
        {"weighting": "examples", "maximum_share": 0.5},
        {"averaging": "median"},
        {"averaging": "trimmed-mean"},
        {"averaging": "multi-krum"},
        {"averaging": "products"},
        {"privacy": {"guarantee": "central", "clip": 1.0, "noise": 1.0, "delta": 1e-5, "maximum_epsilon": 50.0}},
    ],
    ids=str,
)
def test_it_does_not_grow_with_the_sites(tmp_path: Path, more: dict[str, Any]) -> None:
    path, shelf = tmp_path / "update", Shelf(tmp_path)
    layers = [f"{number}.lora" for number in range(LAYERS)]
    drawn = {f"{layer}_A.weight": torch.randn(RANK, WIDE) for layer in layers}
    write_tensors(drawn | {f"{layer}_B.weight": torch.randn(16, RANK) for layer in layers}, path)
    del drawn
    for sites in (5, 10):
        with Held() as held:
            gathering = Gathering(_spec(**more), map_tensors(path), shelf=shelf)
            for number in range(sites):
                gathering.add(f"member-{number}", map_tensors(path), 1)
            found = gathering.result()
        assert len(found.shares) == sites
        assert held.bytes < 2 * UPDATE, f"{held.bytes >> 20} MiB of {UPDATE >> 20} of an update"
        del gathering, found
