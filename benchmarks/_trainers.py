"""The contenders of `benchmarks.training`, each in a process and, where it is foreign, an environment of its own.

`python -P _trainers.py NAME WORK` trains two steps to warm up, says READY, and then for every number on its standard input makes
so many steps and answers with the wall and processor seconds that they took. Only torch is imported for all, the rest by the
contender that needs it: no package of this project is in the environments of others.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MARK = "MEASURED"
WARM_UP = 2
RATE, BETAS, EPSILON, DECAY, CLIP = 2e-3, (0.9, 0.95), 1e-8, 0.1, 1.0


@dataclass(frozen=True)
class Work:
    """One shape for all: a decoder of `layers`, `experts` 0 where it is dense; `intermediate` is of one expert."""

    vocabulary: int = 4096
    hidden: int = 192
    intermediate: int = 512
    layers: int = 6
    heads: int = 6
    experts: int = 0
    picked: int = 0
    batch: int = 8
    length: int = 256
    precision: str = "bf16"

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def architecture(self) -> dict[str, Any]:
        """As a run's spec says it."""
        said = {
            "family": "olmoe" if self.experts else "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "layers": self.layers,
            "heads": self.heads,
            "kv_heads": self.heads,
            "context_length": self.length,
        }
        return said | ({"experts": self.experts, "experts_per_token": self.picked} if self.experts else {})

    def model(self) -> Any:
        """The class of `transformers` that such a spec makes, in fp32."""
        from transformers import AutoConfig, AutoModelForCausalLM

        said: dict[str, Any] = {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": self.length,
            "use_cache": False,
            "pad_token_id": None,
        }
        if self.experts:
            said |= {"num_experts": self.experts, "num_experts_per_tok": self.picked}
        torch.manual_seed(0)
        config = AutoConfig.for_model("olmoe" if self.experts else "llama", **said)
        return AutoModelForCausalLM.from_config(config).float()

    def batches(self) -> Iterator[Tensor]:
        """Random tokens [batch, length], for ever. Token 0 ends documents and does not occur."""
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.randint(1, self.vocabulary, (self.batch, self.length), generator=generator)


Step = Callable[[], object]


def ours(work: Work) -> Step:
    """A base run's worker on one rank, its whole loop with its reports, paced after each step."""
    import numpy as np

    from hub.training.worker import Worker
    from learning.corpus import Corpus
    from learning.tokenizer import save_tokenizer, train_tokenizer

    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _port()}
    os.environ.update(alone)
    training = {"steps": 10_000_000, "batch_size": work.batch, "sequence_length": work.length, "learning_rate": RATE}
    training |= {"precision": work.precision, "weight_decay": DECAY, "clip": CLIP, "balance": 0.0, "router_z": 0.0}
    training |= {"checkpoint_every": 10_000_000}
    spec = {"name": "measured", "architecture": work.architecture(), "training": training}
    folder = Path(tempfile.mkdtemp())
    save_tokenizer(train_tokenizer(iter(["measured"]), 257), folder / "tokenizer")
    tokens = np.random.default_rng(0).integers(1, work.vocabulary, 400_000).astype(np.uint16)
    Corpus({"random": tokens}, {"random": "none"}).save(folder / "tokens")
    paths = {"tokenizer": folder / "tokenizer", "tokens": folder / "tokens", "folder": folder, "checkpoints": folder}

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
    optimizer = _adamw(masters)
    batches = work.batches()

    def step() -> None:
        _loss(model(input_ids=(blocks := next(batches))).logits, blocks).backward()
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
    optimizer, batches = _adamw(list(model.parameters())), work.batches()

    def step() -> None:
        _loss(model(input_ids=(blocks := next(batches))).logits, blocks).backward()
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


def litgpt(work: Work) -> Step:
    """litgpt's model, loss and order of things, as its `pretrain.fit` has them, without its compiling."""
    import lightning
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    fabric = lightning.Fabric(
        accelerator="cpu", devices=1, precision="bf16-true" if work.precision == "bf16" else "32-true"
    )
    config = Config(
        block_size=work.length,
        padded_vocab_size=work.vocabulary,
        n_layer=work.layers,
        n_head=work.heads,
        n_embd=work.hidden,
        intermediate_size=work.intermediate,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMoE" if work.experts else "LLaMAMLP",
        n_expert=work.experts,
        n_expert_per_token=work.picked,
    )
    model = fabric.setup(GPT(config))
    optimizer = fabric.setup_optimizers(_adamw(list(model.parameters())))
    batches = work.batches()

    def step() -> None:
        blocks = next(batches)
        logits = model(blocks)
        fabric.backward(chunked_cross_entropy(logits[:, :-1].contiguous(), blocks[:, 1:].contiguous()))
        fabric.clip_gradients(model, optimizer, max_norm=CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step


def torchtitan(work: Work) -> Step:
    """torchtitan's model under FSDP2's mixed precision, which is how it keeps fp32 weights, without its compiling."""
    import torch.distributed as dist
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{_port()}", rank=0, world_size=1)
    mesh = dist.init_device_mesh("cpu", (1,))
    model = _titan(work)
    with torch.no_grad():
        model.init_weights()
    policy = MixedPrecisionPolicy(param_dtype=work.dtype, reduce_dtype=torch.float32)
    for layer in model.layers.values():
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    optimizer, batches = _adamw(list(model.parameters())), work.batches()

    def step() -> None:
        _loss(model(blocks := next(batches)), blocks).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _titan(work: Work) -> Any:
    """Its Llama 3, or its Qwen 3 with experts, in our sizes: torchtitan 0.2.2, whose models still run on processors."""
    sizes: dict[str, Any] = {"dim": work.hidden, "n_layers": work.layers, "n_heads": work.heads}
    sizes |= {"n_kv_heads": work.heads, "vocab_size": work.vocabulary, "max_seq_len": work.length}
    if not work.experts:
        from torchtitan.models.llama3 import Transformer, TransformerModelArgs

        usual = 8 * work.hidden // 3  # it takes the inner width as a multiple of this
        return Transformer(TransformerModelArgs(**sizes, multiple_of=1, ffn_dim_multiplier=work.intermediate / usual))
    from torchtitan.models.moe import MoEArgs
    from torchtitan.models.qwen3 import Qwen3Model, Qwen3ModelArgs

    experts = MoEArgs(
        num_experts=work.experts, num_shared_experts=0, top_k=work.picked, score_func="softmax", route_norm=True
    )
    sizes |= {"head_dim": work.hidden // work.heads, "moe_inter_dim": work.intermediate, "moe_enabled": True}
    return Qwen3Model(Qwen3ModelArgs(**sizes, moe_args=experts))


class Pace:
    """Lets a loop run as far as its standard input says, and measures it."""

    def __init__(self) -> None:
        self._left, self._steps = WARM_UP, 0
        self._wall = self._busy = 0.0

    def tick(self) -> None:
        """After each step. Ends the process with the input."""
        self._left -= 1
        if self._left:
            return
        if self._steps:
            _say(f"{time.perf_counter() - self._wall} {time.process_time() - self._busy}")
        else:
            _say("READY")
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # gangs of one have nobody to say good-bye to
        self._left = self._steps = int(line)
        self._wall, self._busy = time.perf_counter(), time.process_time()


def _say(what: str) -> None:
    print(f"{MARK} {what}", flush=True)


def _adamw(parameters: list[Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=RATE, betas=BETAS, eps=EPSILON, weight_decay=DECAY, fused=True)


def _loss(logits: Tensor, blocks: Tensor) -> Tensor:
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), blocks[:, 1:].flatten())


def _port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


CONTENDERS: dict[str, Callable[[Work], Step]] = {
    made.__name__: made for made in (ours, plain, bare, trainer, litgpt, torchtitan)
}


def main(name: str, work: str) -> None:
    torch.set_num_threads(1)
    step, pace = CONTENDERS[name](Work(**json.loads(work))), Pace()
    while True:
        step()
        pace.tick()


if __name__ == "__main__":
    main(*sys.argv[1:])
