"""What making updates smaller took from them, kept in the site's home and given to the next round, where a campaign wants it.

Of each campaign two files at the most: what the round that was answered last left, and what that round was given, so that
the same round asked again is answered with the same bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from contributors.site.training import Trained, update_of
from learning.updates import check_names_and_shapes, load_tensors, save_tensors
from protos.documents.rounds import RoundTask
from trust.canonical import emit
from trust.digests import digest_bytes, hex_of
from trust.errors import Invalid
from trust.files import write_private

_NAME = re.compile(r"([0-9]{1,5})-([0-9a-f]{16})\.safetensors")


class Feedback:
    """Of all campaigns that a site takes part in. What does not belong to a task is dropped, and never believed."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "site" / "feedback"

    def update(self, task: RoundTask, trained: Trained) -> bytes:
        """What travels; what is lost now is kept before anybody sees it."""
        transfer, folder = task.spec.transfer, self._folder / task.campaign
        if not transfer.feedback:
            return update_of(trained, transfer).data
        before, after = _before(folder, task), folder / f"{task.round}-{_model(task)}.safetensors"
        packed = update_of(trained, transfer, _fitting(before, trained.start))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(after, save_tensors(packed.lost))
        _drop(path for path in folder.iterdir() if path not in (before, after))
        return packed.data

    def keep_only(self, campaigns: Iterable[str]) -> None:
        """Drop what is kept of all others: they are over."""
        drop_others(self._folder, campaigns)


def drop_others(parent: Path, campaigns: Iterable[str]) -> None:
    """Remove the folders of all campaigns but these."""
    wanted = set(campaigns)
    for folder in parent.glob("*"):
        if folder.name not in wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _before(folder: Path, task: RoundTask) -> Path | None:
    """What the newest round before the task's left. None, and all is dropped, where this very round began with another model
    before: what came of the rounds in between is not what we knew."""
    kept = {path: found for path in folder.glob("*") if (found := _NAME.fullmatch(path.name))}
    if any(int(found[1]) == task.round and found[2] != _model(task) for found in kept.values()):
        _drop(kept)
        return None
    return max(
        (path for path, found in kept.items() if int(found[1]) < task.round),
        key=lambda path: int(kept[path][1]),
        default=None,
    )


def _fitting(path: Path | None, reference: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors, if they are whole and of the adapter's names and shapes."""
    if path is None:
        return None
    try:
        tensors = load_tensors(path.read_bytes())
        check_names_and_shapes(tensors, reference)
    except (OSError, Invalid):
        return None
    return tensors if all(bool(tensor.isfinite().all()) for tensor in tensors.values()) else None


def _model(task: RoundTask) -> str:
    """Which model the round begins with."""
    files = sorted((entry.path, entry.digest) for entry in task.files)
    return hex_of(digest_bytes(emit([list(each) for each in files])))[:16]


def _drop(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)
