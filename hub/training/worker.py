"""One rank of a base run: what `hub.training.rank` becomes under torchrun. DeepSpeed ZeRO; no credentials.

Talks to its node agent through files: `events.jsonl` (one JSON object a line), `checkpoints/` (this rank's shards, see
`shards`), `copies/step-N/` (pieces of copies, see `copies`), `weights-N.safetensors` and `model/` (rank 0).
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import deepspeed
import torch

from hub.training import copies, shards
from hub.training.course import Course
from hub.training.engines import engine, meet, training_shape
from hub.training.feed import Feed
from hub.training.meters import LOSS, Losses, Return, Speed
from hub.training.saving import Saver, Snapshot, Stall, copied
from hub.training.trials import continued, held_out_losses
from learning.corpus import Corpus, batch
from learning.export import save_model
from learning.mixture import Rows
from learning.pretraining import learning_rate_at, row_losses
from learning.stretching import stretch
from learning.tokenizer import load_tokenizer
from protos.documents.course import Leg
from protos.documents.runs import RunSpec
from trust.digests import Digest
from trust.errors import Invalid

REPORT_EVERY = 5  # steps


class Worker:
    """`job`: spec, tokenizer, tokens (shards), folder (of this attempt), checkpoints (kept across attempts), copies (where pieces
    go), resume_step, and the pieces of a `copy` where that is what to go on from; `ordered` in seconds of the epoch."""

    def __init__(self, job: dict[str, Any], ordered: float) -> None:
        self.spec = RunSpec.read(job["spec"])
        self.folder, self.checkpoints = Path(job["folder"]), Path(job["checkpoints"])
        self.copies, self._copy = Path(job["copies"]), [Path(path) for path in job["copy"]]
        self.tokenizer = load_tokenizer(Path(job["tokenizer"]))
        self.corpus = Corpus.load([Path(path) for path in job["tokens"]])
        self.feed = Feed(self.spec, self.corpus.sizes, self.corpus.domains)
        self.resume_step, self._ordered = int(job["resume_step"]), ordered
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._events = (self.folder / "events.jsonl").open("a", buffering=1)
        self._speaking = threading.Lock()

    def run(self) -> None:
        meet()
        self.engine, self._routers = engine(self.spec)
        self._losses = Losses(self.corpus.domains.values(), self.engine.device)
        self._speed = Speed(self.world)
        self._course = Course(self.spec.training)
        keep = self.spec.training.keep_checkpoints
        self._saver, self._stall = Saver(self.checkpoints, keep, self._saved, self._refused), Stall()
        self._return: Return | None = None
        if self.resume_step:
            self._return = Return(self._ordered)
            if self._copy:
                self._restore(self.resume_step)
            else:
                self._load(self.resume_step)
            self._return.loaded()
        self._train()
        self._saver.wait()
        with self._whole():
            if self.rank == 0:
                save_model(self.engine.module.float(), self.tokenizer, self.folder / "model")
        torch.distributed.barrier()
        self._emit(kind="trained", skipped=self._course.skips)

    def _train(self) -> None:
        training, samples = self.spec.training, self.spec.samples
        step, entered = self._course.saved, None
        while step < training.steps:
            step += 1
            leg = self.feed.leg(step)
            if leg != entered:
                self._enter(leg, step)
                entered = leg
            rate = learning_rate_at(training_shape(leg.training), step - 1 - leg.first)
            for group in self.engine.optimizer.param_groups:
                group["lr"] = rate
            self._step(leg, self.feed.rows(step, self.rank, self.world, self._course.skips))
            if self._return:
                self._emit(kind="progress", message=self._return.told(self.resume_step))
                self._return = None
            last = step == leg.last
            saves = step % training.checkpoint_every == 0 and step < training.steps
            if step % REPORT_EVERY == 0 or last or saves:
                means = self._losses.take()
                self._emit(kind="progress", step=step, learning_rate=rate, **means, **self._speed.take())
                verdict = self._course.judge(means[LOSS])
                if verdict == "spike" and self._can_go_back():
                    step, entered = self._go_back(step), None
                    continue
                _check(means[LOSS])
                if saves and verdict == "calm":
                    self._save(step, means[LOSS])
            if training.evaluate_every and (step % training.evaluate_every == 0 or last):
                found = held_out_losses(self.engine, self.corpus, leg, self.rank, self.world)
                self._emit(kind="progress", step=step, **found)
            if samples and (step % samples.every == 0 or step == training.steps):
                for text in continued(self.engine, self.tokenizer, samples, leg.training.sequence_length):
                    self._emit(kind="progress", message=f"sample at step {step}: {text}")
            if step % REPORT_EVERY == 0 or last or saves:
                self._speed.restart()

    def _enter(self, leg: Leg, step: int) -> None:
        """Set what a leg's numbers change in model and engine, at its beginning or, after a stop, within it."""
        training = leg.training
        if leg.stretched_from:
            stretch(self.engine.module, leg.stretched_from, training.sequence_length)
        self.engine.set_train_micro_batch_size(training.at_once)
        self.engine.set_train_batch_size(training.batch_size * self.world)
        if step == leg.first + 1:
            self._course.begin_stage()
            if leg.name:
                self._emit(kind="progress", message=f"stage {leg.name} begins, {training.steps:,} steps")
        if self.rank == 0:
            self._speed.model(self.spec.architecture.hugging_face(), training.sequence_length)
        self._speed.restart()

    def _step(self, leg: Leg, rows: Rows) -> None:
        """One step of the optimizer over these sequences, so many at a time as the leg says."""
        training = leg.training
        sequences = batch(self.corpus.train, rows, training.sequence_length, self.spec.architecture.vocab_size).to(
            self.engine.device
        )
        each, parts = [], torch.split(sequences, training.at_once)
        for number, part in enumerate(parts, 1):
            self.engine.set_gradient_accumulation_boundary(number == len(parts))
            found, loss = row_losses(self.engine, part, separate=training.separate_documents, z=training.z_loss)
            self.engine.backward(loss + self._routers.loss(training.balance, training.router_z))
            self.engine.step()  # DeepSpeed moves the weights with the last part
            each.append(found.detach())
        self._losses.add(torch.cat(each), [self.corpus.domains[dataset] for dataset, _ in rows])
        self._speed.add(sequences.numel() * self.world)

    def _load(self, step: int) -> None:
        """DeepSpeed answers a missing checkpoint with a warning and fresh weights: that must not pass."""
        loaded, kept = self.engine.load_checkpoint(str(self.checkpoints), tag=shards.tag(step))
        if loaded is None or self.engine.global_steps != step:
            raise Invalid(f"The checkpoint of step {step} could not be loaded.")
        self._course.resume(step, kept["course"])
        self._saver.whole = step

    def _restore(self, step: int) -> None:
        """From a copy, whatever ranks made it. A spike before the first checkpoint finds none to go back to."""
        try:
            self._course.resume(step, dict(copies.restore(self.engine, step, self._copy)))
        except (Invalid, LookupError, TypeError, ValueError):
            self._emit(kind="unusable")
            raise

    def _can_go_back(self) -> bool:
        """Once it is known on all ranks which checkpoint is the newest whole one."""
        self._saver.wait()
        self._course.saved = self._saver.whole
        return self._course.may_go_back

    def _go_back(self, step: int) -> int:
        """To the last checkpoint, and past the batches since then; answers with its step."""
        saved, skips = self._course.saved, [*self._course.skips, (self._course.saved, step)]
        self._load(saved)
        self._course.skips = skips
        self._emit(
            kind="progress",
            message=f"the loss jumped before step {step}: training goes back to step {saved} and skips {step - saved} batches",
        )
        return saved

    def _save(self, step: int, loss: float) -> None:
        """Into memory; from there to the node's disk while training goes on. Rank 0 also keeps the weights."""
        began = time.monotonic()
        self._saver.wait()  # and DeepSpeed for the other ranks: of a node they keep their files in one folder
        kept = {"course": self._course.kept()}
        self.engine.save_checkpoint(str(self.checkpoints), tag=shards.tag(step), client_state=kept, save_latest=False)
        weights, path = {}, None
        with self._whole():
            if self.rank == 0:
                named = self.engine.module.named_parameters()  # a tied one once
                weights = {name: copied(value).contiguous() for name, value in named}
                path = self.folder / f"weights-{step}.safetensors"
        piece = self._piece(step)
        story = {"loss": loss, "skipped": list(self._course.skips), "copied": piece is not None}
        files, place = (
            self.engine.checkpoint_engine.take(),
            self.copies / shards.tag(step) / shards.piece(self.rank, self.world),
        )
        self._saver.begin(Snapshot(step, files, weights, path, piece, place if piece else None, story))
        self._emit(kind="progress", step=step, checkpoint_stall=self._stall.take(began))

    def _piece(self, step: int) -> copies.Piece | None:
        every = self.spec.training.copy_every
        return copies.piece(self.engine, step, self._course.kept()) if every and step % every == 0 else None

    def _saved(self, snapshot: Snapshot, shard: Digest) -> None:
        weights = str(snapshot.weights_path or "")
        self._emit(kind="checkpoint", step=snapshot.step, shard=shard, weights=weights, **snapshot.story)

    def _refused(self, step: int, reason: str) -> None:
        self._emit(kind="progress", message=f"the checkpoint of step {step} could not be kept: {reason}")

    def _whole(self) -> AbstractContextManager[Any]:
        """ZeRO 3 keeps parameters in pieces: gather them, which takes all ranks. The other stages have them whole."""
        if self.spec.training.zero_stage < 3:
            return nullcontext()
        gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(list(self.engine.module.parameters()))
        return gathered

    def _emit(self, **event: Any) -> None:
        with self._speaking:
            self._events.write(json.dumps(event) + "\n")
            self._events.flush()


def _check(loss: float) -> None:
    """Raises `Invalid`, on every rank, when training has diverged."""
    if not math.isfinite(loss):
        raise Invalid("The loss is no longer a finite number: training has diverged.", "Lower the learning rate.")


def main(job: str) -> None:
    """The path of a job's JSON."""
    path = Path(job)
    Worker(json.loads(path.read_text()), path.stat().st_mtime).run()
