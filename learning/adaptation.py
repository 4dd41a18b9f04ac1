"""The local training of a site in one round."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from learning.objectives.pairs import Pair, log_likelihoods
from learning.objectives.preferences import odpo_offset, preference_losses
from learning.objectives.rows import Rows
from learning.objectives.steadying import proximal_term
from learning.objectives.supervised import supervised_loss
from learning.packing import Blocks, batch_at
from learning.pretraining import BETAS, Precision, block_loss
from learning.schedules import cosine_with_warmup
from trust.errors import Invalid

CLIP = 1.0
FLOOR = 0.1
# One thread with avx512_bf16, a 4 M Llama, rank 16: 4,075 tokens/s under bf16 autocast, 2,818 in fp32.
DEFAULT_PRECISION: Precision = "bf16"


@dataclass(frozen=True)
class AdaptationResult:
    """Losses are nats per token, each the mean over a tenth of the steps: the first tenth and the last."""

    loss_first: float
    loss_last: float
    tokens: int
    steps: int


def adapt(
    model: nn.Module,
    token_blocks: Blocks,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
    precision: Precision = DEFAULT_PRECISION,
    proximal: float = 0.0,
    corrected: Callable[[], None] | None = None,
) -> AdaptationResult:
    """Train those parameters of `model` that require gradients on `token_blocks` [n, length], in place, as `minimise` does."""

    def loss_of(step: int) -> Tensor:
        return block_loss(model, batch_at(token_blocks, step, batch_size, 0, 1, seed).to(device_of(model)))

    tokens = steps * batch_size * int(token_blocks.shape[1])
    return minimise(model, loss_of, steps, tokens, learning_rate, seed, on_step, precision, proximal, corrected)


def adapt_to_answers(
    model: nn.Module,
    rows: Rows,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
    precision: Precision = DEFAULT_PRECISION,
    proximal: float = 0.0,
    corrected: Callable[[], None] | None = None,
) -> AdaptationResult:
    """As `adapt`, on what counts in `rows`: supervised fine-tuning. The result's tokens are those of whole rows."""
    numbers = np.arange(len(rows), dtype=np.int64).reshape(-1, 1)

    def loss_of(step: int) -> Tensor:
        drawn = batch_at(numbers, step, batch_size, 0, 1, seed)[:, 0]
        return supervised_loss(model, rows.take(drawn).to(device_of(model)))

    tokens = steps * batch_size * int(rows.ids.shape[1])
    return minimise(model, loss_of, steps, tokens, learning_rate, seed, on_step, precision, proximal, corrected)


def adapt_to_preferences(
    model: nn.Module,
    pairs: Sequence[Pair],
    filler: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
    precision: Precision = DEFAULT_PRECISION,
    proximal: float = 0.0,
    beta: float = 0.1,
    offset: float = 0.0,
    corrected: Callable[[], None] | None = None,
) -> AdaptationResult:
    """As `adapt`, on preferences: DPO, and ODPO where `offset` (its alpha) is above 0. What the model is held to is itself as
    it comes, whose likelihoods of the pairs that the steps will draw are computed first. `filler` is a token."""
    numbers = np.arange(len(pairs), dtype=np.int64).reshape(-1, 1)
    drawn = [batch_at(numbers, step, batch_size, 0, 1, seed)[:, 0].tolist() for step in range(steps)]
    before: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad(), autocast(device_of(model), precision):
        for batch in drawn:
            before.append(log_likelihoods(model, [pairs[number] for number in batch], filler))

    def loss_of(step: int) -> Tensor:
        batch = [pairs[number] for number in drawn[step]]
        chosen, rejected = log_likelihoods(model, batch, filler)
        better = torch.tensor([pair.better for pair in batch], device=chosen.device)
        further = odpo_offset(better, torch.zeros_like(better), offset) if offset else 0.0
        return preference_losses(chosen, rejected, *before[step], beta, further).mean()

    tokens = sum(pairs[number].tokens for batch in drawn for number in batch)
    return minimise(model, loss_of, steps, tokens, learning_rate, seed, on_step, precision, proximal, corrected)


def minimise(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    steps: int,
    tokens: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
    precision: Precision = DEFAULT_PRECISION,
    proximal: float = 0.0,
    corrected: Callable[[], None] | None = None,
) -> AdaptationResult:
    """Train those parameters of `model` that require gradients, in place, by the loss (scalar) of every step from 0; `tokens` is
    what all steps take in.

    AdamW with clipping, a short warm-up and a cosine to a tenth; or, with `corrected`, plain gradient descent at one rate, for
    which it changes the gradients first, as SCAFFOLD does (`steadying.correct`). Weights and optimizer stay in the parameters'
    dtype; "bf16" runs the matrix products under autocast. With `proximal` above 0, FedProx's term holds the parameters to where
    they were (`steadying.proximal_term`); the losses told are without it. `on_step(step, loss)` follows every step
    and may raise to stop. Raises `Invalid` where nothing trains or the loss is not finite (the model is then unusable).
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    trainable = [parameter for _, parameter in named]
    start = {name: parameter.detach().clone() for name, parameter in named} if proximal else {}
    if not trainable or steps < 1:
        raise Invalid("There is nothing to train.", "Attach an adapter and ask for at least one step.")
    optimizer: torch.optim.Optimizer = torch.optim.SGD(trainable, lr=learning_rate)
    if corrected is None:
        optimizer = torch.optim.AdamW(trainable, lr=learning_rate, betas=BETAS, weight_decay=0.0, fused=True)
    losses: list[float] = []
    with _training(model, seed):
        for step in range(steps):
            for group in optimizer.param_groups if corrected is None else ():
                group["lr"] = learning_rate * cosine_with_warmup(step, steps, max(1, steps // 10), FLOOR)
            with autocast(trainable[0].device, precision):
                loss = loss_of(step)
            held = loss + proximal_term(named, start, proximal) if proximal else loss
            held.backward()  # type: ignore[no-untyped-call]
            if corrected is None:
                nn.utils.clip_grad_norm_(trainable, CLIP)
            else:
                corrected()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(_finite(float(loss.detach()), step))
            if on_step is not None:
                on_step(step, losses[-1])
    tenth = max(1, steps // 10)
    return AdaptationResult(
        loss_first=sum(losses[:tenth]) / tenth,
        loss_last=sum(losses[-tenth:]) / tenth,
        tokens=tokens,
        steps=steps,
    )


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise Invalid(f"The loss is {loss} at step {step}.", "Lower the learning rate.", field="learning_rate")
    return loss


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Under which matrix products run in `precision`."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@contextmanager
def _training(model: nn.Module, seed: int) -> Iterator[None]:
    """Training mode under `seed` (dropout); evaluation mode and the caller's random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        try:
            yield
        finally:
            model.eval()
