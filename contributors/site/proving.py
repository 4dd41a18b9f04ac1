"""That the model of a round is the one which the ledger says the round before came to, not just any that a hub sends.

The hub sends the next round's task as soon as it has the model, and records it meanwhile; so a model that is new is waited for.
"""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import Field

from contributors.site.kept import keep, kept
from protos.documents.base import Document, FileEntry, Identifier
from protos.documents.rounds import RoundTask
from trust.errors import Denied

HEARING = 120.0
"""Seconds that a model which the hub has may take to be heard of here: it is hashed and made durable before."""
EVERY = 0.1
KEPT = 101
"""Rounds of a campaign, the latest: a task may be as late as a campaign with a buffer allows, and no later."""


class Came(Document):
    """What a campaign's round came to: the files of its model."""

    campaign: Identifier
    round: int = Field(ge=1)
    files: tuple[FileEntry, ...]


class Models(Document):
    """Of our campaigns. The site writes them, its training process reads them before every round but the first."""

    rounds: tuple[Came, ...] = ()

    def of(self, campaign: str, number: int) -> frozenset[FileEntry] | None:
        found = (each.files for each in self.rounds if (each.campaign, each.round) == (campaign, number))
        return next((frozenset(files) for files in found), None)


def write_models(home: Path, models: Models) -> None:
    keep(_file(home), models)


def read_models(home: Path) -> Models:
    return kept(_file(home), Models) or Models()


def check_model(home: Path, task: RoundTask, patience: float = HEARING) -> None:
    """That a task after the first has the model of the round before. Raises `Denied`."""
    if task.round == 1:
        return  # the base model's files are part of what we agreed to (`policy.check_task`)
    before, until = task.round - 1, time.monotonic() + patience
    try:
        while (recorded := read_models(home).of(task.campaign, before)) is None:
            if time.monotonic() >= until:
                raise Denied(
                    f"The ledger, as this site knows it, has no model of round {before} of {task.campaign}: "
                    "nothing says that it is what the hub sent."
                )
            _waits(home).touch()
            time.sleep(EVERY)
    finally:
        _waits(home).unlink(missing_ok=True)
    if others := task.model ^ recorded:
        raise Denied(
            f"{min(each.path for each in others)} of the task is not that of round {before} of {task.campaign} on the ledger.",
            "Tell the core team.",
        )


def waits(home: Path) -> bool:
    """Whether the training process waits for a model to be heard of."""
    return _waits(home).exists()


def _file(home: Path) -> Path:
    return home / "site" / "models.json"


def _waits(home: Path) -> Path:
    return home / "site" / "waits"
