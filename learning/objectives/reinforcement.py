"""Learning from rewards with groups of answers to the same prompt (GRPO). Plain functions of log likelihoods."""

from __future__ import annotations

import torch
from torch import Tensor

from trust.errors import Invalid

_LITTLE = 1e-4


def advantages(rewards: Tensor) -> Tensor:
    """How much better than its group an answer is, in standard deviations: fp32 [groups, size] from rewards of the same shape.
    Shao et al., DeepSeekMath, arXiv:2402.03300, section 4.1.2.

    A group of equal rewards teaches nothing: all 0. Raises `Invalid` for fewer than two answers, and for rewards that are not
    finite.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise Invalid("A group has fewer than two answers.", "Ask for at least 2 of each prompt.", field="group")
    if not bool(torch.isfinite(rewards).all()):
        raise Invalid("A reward is not a finite number.", field="reward")
    exact = rewards.double()
    centred = exact - exact.mean(1, keepdim=True)
    return (centred / (exact.std(1, keepdim=True) + _LITTLE)).float()


def policy_loss(
    likelihoods: Tensor,
    before: Tensor,
    gains: Tensor,
    counted: Tensor,
    clip: float = 0.2,
    reference: Tensor | None = None,
    beta: float = 0.0,
) -> Tensor:
    """GRPO's loss, scalar fp32: arXiv:2402.03300, equations 3 and 4; each answer counts the same, whatever its length.

    `likelihoods` are the log likelihoods of the answers' tokens, [answers, length]; `before` those of the model that gave the
    answers, `reference` those of the model it is held to with `beta` times the KL divergence (Schulman's estimator, "k3");
    `gains` [answers] are `advantages`, flat; `counted` bool [answers, length] says which tokens are the answer's. Raises
    `Invalid` for a `clip` outside 0 to 1 and for a `beta` without a reference.
    """
    if not 0 < clip < 1:
        raise Invalid(f"The clipping range is {clip}.", "Give a number between 0 and 1.", field="clip")
    if beta and reference is None:
        raise Invalid("There is a KL term but no reference.", "Give the reference's likelihoods.", field="beta")
    masked = counted.float()
    ratio = ((likelihoods - before) * masked).exp()
    gain = gains.unsqueeze(1)
    losses = -torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    if beta and reference is not None:
        further = (reference - likelihoods) * masked
        losses = losses + beta * (further.exp() - further - 1)
    return ((losses * masked).sum(1) / masked.sum(1).clamp(min=1)).mean()
