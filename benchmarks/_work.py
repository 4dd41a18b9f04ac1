"""What all contenders of `benchmarks.training` have in common: the model, its batches, the numbers of the optimizer, the pace.

Only torch is imported: the environments of others hold nothing of this project.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
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


def adamw(parameters: list[Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=RATE, betas=BETAS, eps=EPSILON, weight_decay=DECAY, fused=True)


def loss(logits: Tensor, blocks: Tensor) -> Tensor:
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), blocks[:, 1:].flatten())


def port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
