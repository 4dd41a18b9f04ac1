"""Our own control variates (SCAFFOLD), kept in the home under the digests of the updates that they were learned with.

The hub says which of our updates counted last, so that both speak of the same one also where an answer never came to a round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from contributors.site.datasets import read_declarations
from contributors.site.feedback import drop_others
from learning.updates import load_tensors, save_tensors
from protos.documents.rounds import CONTROL, RoundTask
from trust.digests import Digest, digest_bytes, hex_of
from trust.errors import Denied, Invalid
from trust.files import write_private


class Controls:
    """Our own control variates, by campaign: the one that counts, and the newest."""

    def __init__(self, home: Path) -> None:
        self._home, self._folder = home, home / "site" / "controls"

    def own(self, task: RoundTask) -> dict[str, Tensor] | None:
        """As of the update that counted last; None before the first. Raises `Invalid` for a task without what steers it, `Denied`
        where ours is lost: a round without it would lead the others astray."""
        if task.control is None or CONTROL not in {entry.path for entry in task.files}:
            raise Invalid("The task lacks the control variate that its strategy goes by.")
        counted = task.control.of(self._member())
        if counted is None:
            return None
        try:
            return load_tensors(self._path(task, counted).read_bytes())
        except (OSError, Invalid):
            raise Denied(
                "This site has lost its control variate, so it sits the campaign out until its members change."
            ) from None

    def keep(self, task: RoundTask, update: bytes, control: Mapping[str, Tensor] | None) -> None:
        """Durably, before the update leaves; nothing where the campaign does not steer."""
        if control is None or task.control is None:
            return
        counted, newest = task.control.of(self._member()), self._path(task, digest_bytes(update))
        newest.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(newest, save_tensors(control))
        kept = {newest, self._path(task, counted)} if counted else {newest}
        for path in set(newest.parent.iterdir()) - kept:
            path.unlink(missing_ok=True)

    def keep_only(self, campaigns: Iterable[str]) -> None:
        """Drop what is kept of all others: they are over."""
        drop_others(self._folder, campaigns)

    def _member(self) -> str:
        return read_declarations(self._home).member

    def _path(self, task: RoundTask, update: Digest) -> Path:
        return self._folder / task.campaign / f"{hex_of(update)}.safetensors"
