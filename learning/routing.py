"""The losses that keep a mixture of experts in use: tokens spread over the experts, and a router that stays calm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Choice = tuple[Tensor, Tensor, Tensor]  # logits [tokens, experts], scores, indices [tokens, picked]


class Routers:
    """Hears what the routers of a model say in each pass. `transformers`' routers answer with logits, scores and picks."""

    def __init__(self, model: nn.Module) -> None:
        self._said: list[tuple[Tensor, Tensor]] = []
        self._listening = False
        routers = [m for m in model.modules() if type(m).__name__.lower().endswith("topkrouter")]
        if routers:
            model.register_forward_pre_hook(self._begin)
        for router in routers:
            router.register_forward_hook(self._hear)

    def loss(self, balance: float, router_z: float) -> Tensor | float:
        """Both losses of the pass just made, weighted; 0 for a model without experts. Ask once a pass, before the way back."""
        said, self._said, self._listening = self._said, [], False
        if not said:
            return 0.0
        each = [balance * balance_loss(logits, picks) + router_z * z_loss(logits) for logits, picks in said]
        return torch.stack(each).mean()

    def _begin(self, *_: Any) -> None:
        self._said, self._listening = [], True

    def _hear(self, router: nn.Module, inputs: Any, choice: Choice) -> None:
        if self._listening:  # not when a layer is computed again on the way back
            self._said.append((choice[0], choice[2]))


def balance_loss(logits: Tensor, picks: Tensor) -> Tensor:
    """How unevenly a router spreads its tokens; the number of picks a token where evenly. Fedus et al., Switch Transformers,
    2021, equation 4, for several picks as `transformers` extends it.

    `logits` [tokens, experts] and `picks` int64 [tokens, picked] of one router; the result is a scalar in fp32.
    """
    experts = logits.shape[-1]
    share = nn.functional.one_hot(picks, experts).float().mean(0).sum(0)
    return experts * (share * logits.float().softmax(-1).mean(0)).sum()


def z_loss(logits: Tensor) -> Tensor:
    """The mean squared logarithm of the softmax's denominator, a scalar in fp32, of `logits` [tokens, choices]: Zoph et al.,
    ST-MoE, 2022, equation 5."""
    return logits.float().logsumexp(-1).square().mean()
