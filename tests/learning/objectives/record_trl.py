"""Writes `trl_losses.json`: what trl's trainers compute on small tensors, so that the tests need no trl.

pip install --no-deps --target DIR trl==1.16.0
PYTHONPATH=DIR python -m tests.learning.objectives.record_trl
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor

FILE = Path(__file__).with_name("trl_losses.json")
PAIRS, LENGTH, VOCABULARY = 2, 5, 6
BETA, CLIP, KL = 0.3, 0.2, 0.04


class _Said:
    """A model whose logits are given, answering as trl's fused head does."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(self, input_ids: Tensor, labels: Tensor, **_: Any) -> SimpleNamespace:
        logs = self.logits[:, :-1].log_softmax(-1)
        wanted = labels[:, 1:]
        said = logs.gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        nothing = torch.zeros_like(said)
        return SimpleNamespace(
            log_probs=said.where(wanted != -100, nothing),
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
            log_sum_sq_probs=nothing,
        )


def preferences(generator: torch.Generator) -> dict[str, Any]:
    from trl.trainer.dpo_trainer import DPOTrainer

    logits = torch.randn(2 * PAIRS, LENGTH, VOCABULARY, generator=generator).requires_grad_()
    reference = torch.randn(2 * PAIRS, LENGTH, VOCABULARY, generator=generator)
    ids = torch.randint(VOCABULARY, (2 * PAIRS, LENGTH), generator=generator)
    counted = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    trainer = MagicMock(
        ld_alpha=None, precompute_ref_logps=False, f_divergence_type="reverse_kl", loss_types=["sigmoid"], beta=BETA
    )
    trainer.configure_mock(loss_weights=[1.0], use_weighting=False, aux_loss_enabled=False, ref_model=_Said(reference))
    trainer.accelerator.gather_for_metrics = trainer.accelerator.gather = lambda value: value
    inputs = {"input_ids": ids, "completion_mask": counted, "attention_mask": torch.ones_like(ids)}
    loss = DPOTrainer._compute_loss(trainer, _Said(logits), inputs, False)
    loss.backward()
    tensors = {
        "logits": logits.detach(),
        "reference": reference,
        "ids": ids,
        "counted": counted,
        "gradient": logits.grad,
    }
    return {"beta": BETA, "loss": loss.item(), **{name: tensor.tolist() for name, tensor in tensors.items()}}


def rewards(generator: torch.Generator) -> dict[str, Any]:
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.utils import nanstd

    now = torch.randn(4, LENGTH, generator=generator).requires_grad_()
    before, reference = (now.detach() + torch.randn(4, LENGTH, generator=generator) / 3 for _ in range(2))
    counted = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    given = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    gains = ((given - given.mean(1, keepdim=True)) / (nanstd(given, dim=1, keepdim=True) + 1e-4)).flatten()
    trainer = MagicMock(
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token", beta=KL
    )
    trainer.configure_mock(
        loss_type="grpo", epsilon_low=CLIP, epsilon_high=CLIP, use_vllm=False, aux_loss_enabled=False
    )
    trainer.configure_mock(current_gradient_accumulation_steps=1.0, _entropy_bonus_enabled=False)
    trainer.args.delta, trainer.args.use_bias_correction_kl = None, False
    trainer.accelerator.gather = lambda value: value
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (now, torch.zeros_like(now), None)
    nothing = torch.zeros(4, 1, dtype=torch.int64)
    inputs = {
        "prompt_ids": nothing,
        "prompt_mask": nothing,
        "completion_ids": torch.zeros_like(counted),
        "completion_mask": counted,
        "advantages": gains,
        "old_per_token_logps": before,
        "ref_per_token_logps": reference,
    }
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    tensors = {"now": now.detach(), "before": before, "reference": reference, "counted": counted, "gradient": now.grad}
    named = {name: tensor.tolist() for name, tensor in (tensors | {"rewards": given, "gains": gains}).items()}
    return {"clip": CLIP, "beta": KL, "loss": loss.item(), **named}


if __name__ == "__main__":
    seeded = torch.Generator().manual_seed(7)
    FILE.write_text(json.dumps({"trl": "1.16.0", "dpo": preferences(seeded), "grpo": rewards(seeded)}) + "\n")
