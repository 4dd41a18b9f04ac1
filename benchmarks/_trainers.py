"""The contenders of `benchmarks.training`, each in a process and, where it is foreign, an environment of its own.

`python -P -m benchmarks._trainers NAME WORK` trains two steps to warm up, says READY, and then for every number on its standard
input makes so many steps and answers with the wall and processor seconds that they took. Only torch is imported for all, the
rest by the contender that needs it: no package of this project is in the environments of others.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._foreign import litgpt, litgpt_mixed, torchtitan
from benchmarks._work import BETAS, CLIP, DECAY, RATE, Pace, Step, Work, adamw, loss, port


def ours(work: Work) -> Step:
    """A base run's worker on one rank, its whole loop with its reports, paced after each step."""
    import numpy as np

    from hub.training.worker import Worker
    from learning.corpus import Corpus
    from learning.tokenizer import save_tokenizer, train_tokenizer

    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port()}
    os.environ.update(alone)
    training = {"steps": 10_000_000, "batch_size": work.batch, "sequence_length": work.length, "learning_rate": RATE}
    training |= {"precision": work.precision, "weight_decay": DECAY, "clip": CLIP, "balance": 0.0, "router_z": 0.0}
    training |= {"checkpoint_every": 10_000_000}
    spec = {"name": "measured", "architecture": work.architecture(), "training": training}
    folder = Path(tempfile.mkdtemp())
    save_tokenizer(train_tokenizer(iter(["measured"]), 257), folder / "tokenizer")
    tokens = np.random.default_rng(0).integers(1, work.vocabulary, 400_000).astype(np.uint16)
    shards = Corpus({"random": tokens}, {"random": "none"}).save(folder)
    paths = {"tokenizer": folder / "tokenizer", "tokens": shards, "folder": folder, "checkpoints": folder}
    paths |= {"copies": folder, "copy": []}

    class Paced(Worker):
        def _step(self, *inputs: Any) -> None:
            super()._step(*inputs)
            pace.tick()

    pace = Pace()
    return Paced({"spec": spec, "resume_step": 0, **paths}, time.time()).run  # returns when the pace ends the process


def plain(work: Work) -> Step:
    """A loop by hand that keeps the numbers of ours: bf16 weights for the passes and fp32 ones for the optimizer."""
    model = work.model().to(work.dtype)
    parameters = list(model.parameters())
    masters = [p.detach().float() for p in parameters] if work.precision == "bf16" else parameters
    optimizer = adamw(masters)
    batches = work.batches()

    def step() -> None:
        loss(model(input_ids=(blocks := next(batches))).logits, blocks).backward()
        if masters is not parameters:
            for master, parameter in zip(masters, parameters, strict=True):
                master.grad, parameter.grad = parameter.grad.float(), None
        nn.utils.clip_grad_norm_(masters, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if masters is not parameters:
            with torch.no_grad():
                torch._foreach_copy_(parameters, masters)

    return step


def bare(work: Work) -> Step:
    """A loop by hand whose optimizer, too, computes in the precision of the passes: less to do, and worse numbers in bf16."""
    model = work.model().to(work.dtype)
    optimizer, batches = adamw(list(model.parameters())), work.batches()

    def step() -> None:
        loss(model(input_ids=(blocks := next(batches))).logits, blocks).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step


def trainer(work: Work) -> Step:
    """transformers' Trainer, paced by a callback: it calls back after every step of its own loop."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Blocks(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return 1_000_000 * work.batch

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            block = torch.randint(1, work.vocabulary, (work.length,))
            return {"input_ids": block, "labels": block}

    class Paced(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            pace.tick()

    pace = Pace()
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=work.batch,
        max_steps=10_000_000,
        bf16=work.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        learning_rate=RATE,
        adam_beta2=BETAS[1],
        weight_decay=DECAY,
        max_grad_norm=CLIP,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    hands = Trainer(model=work.model(), args=arguments, train_dataset=Blocks(), callbacks=[Paced()])
    return hands.train  # returns when the pace ends the process


CONTENDERS: dict[str, Callable[[Work], Step]] = {
    made.__name__: made for made in (ours, plain, bare, trainer, litgpt, litgpt_mixed, torchtitan)
}


def main(name: str, work: str) -> None:
    torch.set_num_threads(1)
    step, pace = CONTENDERS[name](Work(**json.loads(work))), Pace()
    while True:
        step()
        pace.tick()


if __name__ == "__main__":
    main(*sys.argv[1:])
