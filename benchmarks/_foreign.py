"""Contenders of `benchmarks.training` from elsewhere: litgpt and torchtitan, each in an environment of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks._work import CLIP, Step, Work, adamw, loss, port


def litgpt(work: Work) -> Step:
    """As `litgpt pretrain` has it by itself: in bf16 there are no fp32 weights, so small changes are lost."""
    return _litgpt(work, "bf16-true" if work.precision == "bf16" else "32-true")


def litgpt_mixed(work: Work) -> Step:
    """With `--precision bf16-mixed`, its own way to keep fp32 weights: what others here do."""
    return _litgpt(work, "bf16-mixed")


def _litgpt(work: Work, precision: Any) -> Step:
    """litgpt's model, loss and order of things, as its `pretrain.fit` has them, without its compiling."""
    import lightning
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=precision)
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
        norm_qk=bool(work.experts),  # over all heads at once, as OLMoE
        norm_qk_type="olmo2",
    )
    model = fabric.setup(GPT(config))
    optimizer = fabric.setup_optimizers(adamw(list(model.parameters())))
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

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port()}", rank=0, world_size=1)
    mesh = dist.init_device_mesh("cpu", (1,))
    model = _titan(work)
    with torch.no_grad():
        model.init_weights()
    policy = MixedPrecisionPolicy(param_dtype=work.dtype, reduce_dtype=torch.float32)
    for layer in model.layers.values():
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    optimizer, batches = adamw(list(model.parameters())), work.batches()

    def step() -> None:
        loss(model(blocks := next(batches)), blocks).backward()
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
