"""DeepSpeed's engine for a base run, as its ranks make it before they train."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import deepspeed
import torch

from hub.training.launch import has_gpu
from hub.training.saving import Memory
from learning.architectures import build_model
from learning.muon import Muon, muon_groups
from learning.pretraining import BETAS, EPSILON, TrainingShape, deepspeed_config, parameter_groups
from learning.routing import Routers
from protos.documents.course import Training
from protos.documents.runs import RunSpec

RENDEZVOUS = timedelta(seconds=120)


def meet() -> None:
    """The ranks find each other, as their environment says."""
    _compile_nothing()
    deepspeed.init_distributed("nccl" if has_gpu() else "gloo", timeout=RENDEZVOUS, verbose=False)


def engine(spec: RunSpec) -> tuple[Any, Routers]:
    """With the run's new model, as its first stage begins; and the model's routers. Its checkpoints are copied into memory."""
    training = spec.course[0].training
    shape, world = training_shape(training), torch.distributed.get_world_size()
    model = build_model(spec.architecture.hugging_face(), shape.seed)
    if training.recompute:
        model.activation_checkpointing_enable()
    routers = Routers(model)
    config = deepspeed_config(shape, world, training.zero_stage, model.num_parameters())
    config["checkpoint"] = {"use_node_local_storage": True}
    made, *_ = deepspeed.initialize(model=model, config=config, **optimized(model, shape))
    made.checkpoint_engine = Memory()
    made._copy_recovery_script = _copy_nothing
    return made, routers


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


def _compile_nothing() -> None:
    """DeepSpeed would compile an all-reduce for inference on CPUs, which training never calls: that takes a minute and a
    compiler, and a rank killed meanwhile leaves a lock in the cache of extensions that every later rank waits for."""
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _copy_nothing(_: str) -> None:
    """DeepSpeed would put scripts beside a checkpoint, while training waits and even when the disk is full."""
