"""Learning from pairs of answers of which one is preferred. Plain functions of log likelihoods."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from trust.errors import Invalid


def preference_losses(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    offset: Tensor | float = 0.0,
) -> Tensor:
    """DPO's loss of each pair, fp32 [pairs], from log likelihoods in nats of whole answers, [pairs] each: the model's own and
    those of the model it started from.

    -log sigmoid(beta * (log ratio of the chosen - log ratio of the rejected) - offset): Rafailov et al., arXiv:2305.18290,
    equation 7; with an `offset` (a number or [pairs]) ODPO, Amini et al., arXiv:2402.10571, equation 7.
    """
    if not beta > 0:
        raise Invalid(f"DPO's beta is {beta}.", "Give a positive number, such as 0.1.", field="beta")
    gain = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -functional.logsigmoid(beta * gain.float() - offset)


def odpo_offset(chosen_scores: Tensor, rejected_scores: Tensor, alpha: float) -> Tensor:
    """ODPO's offset: alpha times log(1 + how much better the chosen answer was scored), fp32 [pairs].

    Amini et al., arXiv:2402.10571, section 4, take an increasing function of the difference and use its logarithm, which is
    negative below 1 and has no bound towards equal scores. One more than the difference has neither fault: equal scores, or
    none, ask for nothing, and each further point asks for more, whatever the scale of the scores. Raises `Invalid` where a
    rejected answer has the higher score.
    """
    better = chosen_scores.float() - rejected_scores.float()
    if bool((better < 0).any()):
        raise Invalid("A rejected answer has a higher score than the chosen.", "Swap the two.", field="score")
    return alpha * better.log1p()
