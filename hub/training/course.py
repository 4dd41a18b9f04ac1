"""Where a run's training stands beyond its weights: its last checkpoint, the losses since, the batches that it skipped."""

from __future__ import annotations

from typing import Any

from learning.spikes import WINDOW, Verdict, judge
from protos.documents.course import Training


class Course:
    """The same on every rank, since all of them see the same losses."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.saved = 0
        self.skips: list[tuple[int, int]] = []
        self._losses: list[float] = []

    def begin_stage(self) -> None:
        """Other data and rates have other losses."""
        self._losses = []

    def judge(self, loss: float) -> Verdict:
        """Of a loss that was just reported; calm where nobody asked to watch for spikes."""
        if not self._training.rollbacks:
            return "calm"
        self._losses = [*self._losses, loss][-2 * WINDOW :]
        return judge(self._losses, self._training.spike_deviations)

    @property
    def may_go_back(self) -> bool:
        """Whether there is a checkpoint, and the run has not gone back too often."""
        return self.saved > 0 and len(self.skips) < self._training.rollbacks

    def kept(self) -> dict[str, Any]:
        """For the checkpoint, so that a run that resumes goes on as one that was never interrupted."""
        return {"skips": self.skips, "losses": self._losses}

    def resume(self, step: int, kept: dict[str, Any]) -> None:
        """At the checkpoint of `step`."""
        self.saved = step
        self.skips = [(int(after), int(until)) for after, until in kept["skips"]]
        self._losses = [float(loss) for loss in kept["losses"]]
