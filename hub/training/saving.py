"""Checkpoints that are written while training goes on: a rank copies its state into memory, and a thread writes it.

Every rank's thread hears from the others whether they have written, too: a checkpoint is whole on all ranks or dropped on all.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointEngine
from safetensors.torch import save
from torch import Tensor

from hub.training import shards
from hub.training.copies import Piece
from trust.digests import Digest

SLOWEST = timedelta(hours=2)
"""How long ranks wait for the disk of the slowest of them."""


class Memory(CheckpointEngine):  # type: ignore[misc]
    """Where DeepSpeed saves to: what it hands over is copied, so that training may go on to change it. Loads from files."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "memory"
        self._files: dict[Path, Any] = {}

    def create(self, info: Any) -> None:
        """Nothing is begun on a disk."""

    def take(self) -> dict[Path, Any]:
        """What was saved since the last time, by its file; it is no longer here."""
        files, self._files = self._files, {}
        return files

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Whoever writes the files makes their folders."""

    def save(self, state_dict: Any, path: str) -> None:
        self._files[Path(path)] = copied(state_dict)

    def load(self, path: str, map_location: Any = None) -> Any:
        return TorchCheckpointEngine().load(path, map_location)

    def commit(self, info: Any) -> bool:
        return True

    def preserves_storage_sharing(self) -> bool:
        """A copy has no more than its own elements."""
        return False


def copied(value: Any) -> Any:
    """The same in containers and tensors of its own, these in the processor's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if type(value) in (dict, OrderedDict):
        return type(value)((key, copied(each)) for key, each in value.items())
    if type(value) in (list, tuple):
        return type(value)(copied(each) for each in value)
    return deepcopy(value)


class Plain:
    """A file that is written to as any object is: to a real one torch writes by itself, and while the disk is slow it holds the
    interpreter, and training with it."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.flush = file.write, file.flush


@dataclass(frozen=True)
class Snapshot:
    """A rank's state at a step: what goes into which file of its shard, on rank 0 the model's weights and where to, where the
    step is to be copied a piece for that and where to, and what is to be told of it."""

    step: int
    files: Mapping[Path, Any]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    weights_path: Path | None = None
    piece: Piece | None = None
    piece_path: Path | None = None
    story: Mapping[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        """Raises `OSError`."""
        for path, state in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                plain = cast(IO[bytes], Plain(file))
                torch.save(state, plain, _use_new_zipfile_serialization=False)  # the zip format hides what a disk says
        if self.weights_path:
            self.weights_path.write_bytes(save(dict(self.weights)))
        if self.piece and self.piece_path:
            self.piece.write(self.piece_path)

    def drop(self) -> None:
        """What was written beside the shard."""
        for path in (self.weights_path, self.piece_path):
            if path:
                path.unlink(missing_ok=True)


Saved = Callable[[Snapshot, Digest], None]
Refused = Callable[[int, str], None]


class Saver:
    """One checkpoint at a time. `saved` is called, by the thread, with each that all ranks have written; `refused` with the step
    and the reason of each that one of them could not."""

    def __init__(self, checkpoints: Path, keep: int, saved: Saved, refused: Refused) -> None:
        self._checkpoints, self._keep, self._saved, self._refused = checkpoints, keep, saved, refused
        self._group = torch.distributed.new_group(backend="gloo", timeout=SLOWEST)  # the threads' own
        self._thread: threading.Thread | None = None
        self._trouble: BaseException | None = None
        self.whole = 0
        """The newest step that all ranks hold, as of the last `wait`."""

    def begin(self, snapshot: Snapshot) -> None:
        """Write it from now on. The one before must be done (`wait`)."""
        self._thread = threading.Thread(target=self._run, args=[snapshot], name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written. Raises what the thread met and could not deal with."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._trouble is not None:
            raise self._trouble

    def _run(self, snapshot: Snapshot) -> None:
        try:
            self._keep_or_drop(snapshot)
        except BaseException as trouble:
            self._trouble = trouble

    def _keep_or_drop(self, snapshot: Snapshot) -> None:
        sealed: list[Digest] = []
        reason = self._on_all(snapshot.write)
        if not reason:
            reason = self._on_all(lambda: sealed.append(shards.seal(self._checkpoints, snapshot.step)))
        if reason:
            shards.rewind(self._checkpoints, snapshot.step - 1)
            shards.thin(self._checkpoints, 1, pending=1)
            snapshot.drop()
            self._refused(snapshot.step, reason)
            return
        shards.thin(self._checkpoints, self._keep)
        self.whole = snapshot.step
        self._saved(snapshot, sealed[0])

    def _on_all(self, part: Callable[[], None]) -> str:
        """Do a part on every rank; why it failed on one of them, or nothing."""
        number = 0
        try:
            part()
        except OSError as error:
            number = error.errno or errno.EIO
        numbers = torch.zeros(torch.distributed.get_world_size(), dtype=torch.int64)
        numbers[torch.distributed.get_rank()] = number
        torch.distributed.all_reduce(numbers, group=self._group)
        return next((f"rank {rank}: {os.strerror(each)}" for rank, each in enumerate(numbers.tolist()) if each), "")


class Stall:
    """The share of the time between two checkpoints that training stood still for one."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def take(self, began: float) -> float:
        """Of the saving that began at this moment of `time.monotonic` and is over now, and the time since the last one."""
        now = time.monotonic()
        share = (now - began) / (now - self._since)
        self._since = now
        return share
