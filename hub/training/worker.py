"""One rank of a base run: what `hub.training.rank` becomes under torchrun. DeepSpeed ZeRO; no credentials.

Talks to its node agent through files: `events.jsonl` (one JSON object a line), `checkpoints/` (this rank's shards, see
`shards`), `weights-N.safetensors` and `model/` (rank 0).
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import torch
from safetensors.torch import save_file

from hub.training import shards
from hub.training.feed import Feed
from hub.training.launch import has_gpu
from hub.training.meters import LOSS, Losses
from learning.architectures import build_model
from learning.corpus import Corpus
from learning.export import save_model
from learning.mixture import Rows
from learning.muon import Muon, muon_groups
from learning.pretraining import (
    BETAS,
    EPSILON,
    TrainingShape,
    deepspeed_config,
    learning_rate_at,
    parameter_groups,
    row_losses,
)
from learning.routing import Routers
from learning.tokenizer import load_tokenizer
from protos.documents.course import Leg, Training
from protos.documents.runs import RunSpec
from trust.errors import Invalid

REPORT_EVERY = 5  # steps
RENDEZVOUS = timedelta(seconds=120)


class Worker:
    """`job`: spec, tokenizer, tokens, folder (of this attempt), checkpoints (kept across attempts), resume_step."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.spec = RunSpec.read(job["spec"])
        self.folder, self.checkpoints = Path(job["folder"]), Path(job["checkpoints"])
        self.tokenizer = load_tokenizer(Path(job["tokenizer"]))
        self.corpus = Corpus.load(Path(job["tokens"]), self.spec.architecture.vocab_size)
        self.feed = Feed(self.spec, self.corpus.sizes, self.corpus.domains)
        self.resume_step = int(job["resume_step"])
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.shape = training_shape(self.spec.training)
        self._events = (self.folder / "events.jsonl").open("a", buffering=1)

    def run(self) -> None:
        _compile_nothing()
        deepspeed.init_distributed("nccl" if has_gpu() else "gloo", timeout=RENDEZVOUS, verbose=False)
        model = build_model(self.spec.architecture.hugging_face(), self.shape.seed)
        if self.spec.training.recompute:
            model.activation_checkpointing_enable()
        self._routers = Routers(model)
        config = deepspeed_config(self.shape, self.world, self.spec.training.zero_stage, model.num_parameters())
        config["checkpoint"] = {"use_node_local_storage": True}
        engine, *_ = deepspeed.initialize(model=model, config=config, **optimized(model, self.shape))
        if self.resume_step:
            self._resume(engine)
        self._train(engine)
        with self._whole(engine):
            if self.rank == 0:
                save_model(_unwrapped(engine), self.tokenizer, self.folder / "model")
        torch.distributed.barrier()
        self._emit(kind="trained")

    def _resume(self, engine: Any) -> None:
        """DeepSpeed answers a missing checkpoint with a warning and fresh weights: that must not pass."""
        loaded, _ = engine.load_checkpoint(str(self.checkpoints), tag=shards.tag(self.resume_step))
        if loaded is None or engine.global_steps != self.resume_step:
            raise Invalid(f"The checkpoint of step {self.resume_step} could not be loaded.")

    def _train(self, engine: Any) -> None:
        started, tokens = time.monotonic(), 0
        losses = Losses(self.corpus.domains.values(), engine.device)
        for step in range(self.resume_step + 1, self.spec.training.steps + 1):
            leg = self.feed.leg(step)
            rate = learning_rate_at(training_shape(leg.training), step - 1 - leg.first)
            for group in engine.optimizer.param_groups:
                group["lr"] = rate
            tokens += self._step(engine, leg, self.feed.rows(step, self.rank, self.world), losses) * self.world
            saves = step % self.spec.training.checkpoint_every == 0 and step < self.shape.steps
            if step % REPORT_EVERY == 0 or step == self.shape.steps or saves:
                means = losses.take()
                if not math.isfinite(means[LOSS]):
                    raise Invalid(
                        "The loss is no longer a finite number: training has diverged.", "Lower the learning rate."
                    )
                speed = tokens / (time.monotonic() - started)
                self._emit(kind="progress", step=step, learning_rate=rate, tokens_per_second=speed, **means)
                if saves:
                    self._save(engine, step, means[LOSS])
                started, tokens = time.monotonic(), 0

    def _step(self, engine: Any, leg: Leg, rows: Rows, losses: Losses) -> int:
        """One step of the optimizer over these sequences, so many at a time as the leg says; answers with their tokens."""
        training = leg.training
        batch = self.corpus.batch(rows, training.sequence_length).to(engine.device)
        each = []
        for part in torch.split(batch, training.at_once):
            found, loss = row_losses(engine, part, separate=training.separate_documents, z=training.z_loss)
            engine.backward(loss + self._routers.loss(training.balance, training.router_z))
            engine.step()  # DeepSpeed moves the weights with the last part
            each.append(found.detach())
        losses.add(torch.cat(each), [self.corpus.domains[dataset] for dataset, _ in rows])
        return batch.numel()

    def _save(self, engine: Any, step: int, loss: float) -> None:
        """This rank's shard to the node's disk; rank 0 also writes the weights."""
        engine.save_checkpoint(str(self.checkpoints), tag=shards.tag(step))
        weights = ""
        with self._whole(engine):
            if self.rank == 0:
                weights = str(self.folder / f"weights-{step}.safetensors")
                save_file({name: value.detach().cpu().contiguous() for name, value in _named(engine)}, weights)
        shard = shards.seal(self.checkpoints, step)
        self._emit(kind="checkpoint", step=step, loss=loss, shard=shard, weights=weights)

    def _whole(self, engine: Any) -> AbstractContextManager[Any]:
        """ZeRO 3 keeps parameters in pieces: gather them, which takes all ranks. The other stages have them whole."""
        if self.spec.training.zero_stage < 3:
            return nullcontext()
        gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(list(engine.module.parameters()))
        return gathered

    def _emit(self, **event: Any) -> None:
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()


def _named(engine: Any) -> list[tuple[str, torch.Tensor]]:
    """Named parameters, a tied one once."""
    return list(engine.module.named_parameters())


def _unwrapped(engine: Any) -> Any:
    return engine.module.float()


def optimized(model: Any, shape: TrainingShape) -> dict[str, Any]:
    """What `deepspeed.initialize` is told of the optimizer."""
    if shape.optimizer == "adamw":
        return {"model_parameters": parameter_groups(model, shape.weight_decay)}
    rank, groups = torch.distributed.get_rank(), muon_groups(model, shape.weight_decay)
    return {"optimizer": Muon(groups, shape.learning_rate, BETAS, EPSILON, _gather, rank)}


def _gather(part: torch.Tensor) -> torch.Tensor:
    whole = part.new_empty(len(part) * torch.distributed.get_world_size())
    torch.distributed.all_gather_into_tensor(whole, part.contiguous())
    return whole


def training_shape(training: Training) -> TrainingShape:
    """The spec's numbers, or those of a stage, in the words of `learning`."""
    return TrainingShape(
        steps=training.steps,
        batch_size_per_rank=training.batch_size,
        learning_rate=training.learning_rate,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        clip=training.clip,
        seed=training.seed,
        sequence_length=training.sequence_length,
        precision=training.precision,
        floor=training.floor,
        micro_batch=training.micro_batch,
        schedule=training.schedule,
        decay_steps=training.decay_steps,
        optimizer=training.optimizer,
    )


def _compile_nothing() -> None:
    """DeepSpeed would compile an all-reduce for inference on CPUs, which training never calls: that takes a minute and a
    compiler, and a rank killed meanwhile leaves a lock in the cache of extensions that every later rank waits for."""
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def main(job: str) -> None:
    """The path of a job's JSON."""
    Worker(json.loads(Path(job).read_text())).run()
