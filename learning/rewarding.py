"""The local training of a site in one round of GRPO: the model answers prompts, the answers are rewarded, and it learns from how
each compares with the others of its group.

Shao et al., DeepSeekMath, arXiv:2402.03300, algorithm 1, with one gradient step for each pass over a batch of answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from learning.adaptation import DEFAULT_PRECISION, AdaptationResult, device_of, minimise
from learning.objectives.answers import answer_losses
from learning.objectives.chats import completed
from learning.objectives.completions import Sampling, complete
from learning.objectives.reinforcement import advantages, policy_loss
from learning.objectives.rows import Rows, one_each
from learning.packing import batch_at
from learning.pretraining import Precision
from learning.trainable import Prepared
from trust.errors import Invalid

Judge = Callable[[int, Sequence[int]], float]
"""The reward of a completion (token ids) of the prompt with this number, from 0 to 1."""


@dataclass(frozen=True)
class Grouped:
    """How groups of answers teach: `size` answers of each prompt, each batch of them learned from in `passes` steps; `clip` and
    `beta` as `policy_loss` has them."""

    size: int
    passes: int = 1
    clip: float = 0.2
    beta: float = 0.04


@dataclass(frozen=True)
class RewardedResult:
    """Of all completions of the round's first tenth of batches and of its last: the mean reward; of the last: the mean KL
    divergence from the model as it came, in nats per token, and the mean length in tokens."""

    adaptation: AdaptationResult
    reward_first: float
    reward_last: float
    divergence: float
    length: float


@dataclass(frozen=True)
class _Batch:
    """Answers, and what they were worth when they were given: log likelihoods [answers, length], gains [answers]."""

    rows: Rows
    before: Tensor
    reference: Tensor
    gains: Tensor


@dataclass(frozen=True)
class _Course:
    """Means over a batch of answers."""

    reward: float
    divergence: float
    length: float


def adapt_to_rewards(
    prepared: Prepared,
    prompts: Sequence[Sequence[int]],
    judge: Judge,
    sampling: Sampling,
    grouped: Grouped,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    precision: Precision = DEFAULT_PRECISION,
    proximal: float = 0.0,
) -> RewardedResult:
    """As `adaptation.adapt`, on the rewards of what the model itself answers; the model is `prepared` to
    train, and held to what it was before.

    A batch is `batch_size` answers: `grouped.size` of each of its prompts (token ids). `steps` and `sampling.most` bound the
    time, one batch the memory. Raises `Invalid` where a batch is not made of whole groups, and as `minimise`.
    """
    if batch_size % grouped.size:
        raise Invalid(f"{batch_size} answers are not whole groups of {grouped.size}.", field="batch_size")
    numbers = np.arange(len(prompts), dtype=np.int64).reshape(-1, 1)
    batches: list[_Batch] = []  # the newest alone
    courses: list[_Course] = []
    tokens = 0

    def loss_of(step: int) -> Tensor:
        nonlocal tokens
        if not step % grouped.passes:
            drawn = batch_at(numbers, len(courses), batch_size // grouped.size, 0, 1, seed)[:, 0].tolist()
            batch, course = _answered(prepared, drawn, prompts, judge, sampling, grouped.size)
            batches[:] = [batch]
            courses.append(course)
        (batch,) = batches
        tokens += batch.rows.ids.numel()
        now = -answer_losses(prepared.model, batch.rows, sampling.temperature)
        held = (batch.reference, grouped.beta)
        return policy_loss(now, batch.before, batch.gains, batch.rows.counted, grouped.clip, *held)

    result = minimise(prepared.model, loss_of, steps, 0, learning_rate, seed, None, precision, proximal)
    tenth = max(1, len(courses) // 10)
    first, last = courses[:tenth], courses[-tenth:]
    return RewardedResult(
        replace(result, tokens=tokens),
        reward_first=sum(course.reward for course in first) / tenth,
        reward_last=sum(course.reward for course in last) / tenth,
        divergence=sum(course.divergence for course in last) / tenth,
        length=sum(course.length for course in last) / tenth,
    )


def _answered(
    prepared: Prepared,
    drawn: Sequence[int],
    prompts: Sequence[Sequence[int]],
    judge: Judge,
    sampling: Sampling,
    size: int,
) -> tuple[_Batch, _Course]:
    """`size` answers to each of the prompts `drawn`, judged."""
    model = prepared.model
    model.eval()
    said = [(number, answer) for number in drawn for answer in complete(model, prompts[number], size, sampling)]
    rewards = torch.tensor([judge(number, answer) for number, answer in said])
    rows = one_each([completed(prompts[number], answer) for number, answer in said], sampling.end)
    rows = rows.to(device_of(model))
    with torch.no_grad():
        before = -answer_losses(model, rows, sampling.temperature)
        with prepared.as_it_was():
            reference = -answer_losses(model, rows, sampling.temperature)
    model.train()
    further = (reference - before)[rows.counted]
    course = _Course(
        reward=float(rewards.mean()),
        divergence=float((further.exp() - further - 1).mean()),
        length=sum(len(answer) for _, answer in said) / len(said),
    )
    gains = advantages(rewards.view(-1, size)).flatten().to(before.device)
    return _Batch(rows, before, reference, gains), course
