"""The shapes of base models, one closed schema a family.

Sizes are counts of units; lengths are in tokens. A family is what `transformers` calls `model_type`, and `hugging_face()` says a
shape in the words of that class's configuration, so that what is trained here is what public tools load.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from protos.documents.base import Document

Width = Annotated[int, Field(ge=16, le=131_072)]
Heads = Annotated[int, Field(ge=1, le=256)]
Layers = Annotated[int, Field(ge=1, le=256)]
_UNSTRETCHED = 8192  # tokens
Experts = Annotated[int, Field(ge=1, le=1024)]


class Decoder(Document):
    """What every family has. `rope_theta` is the base of rotary positions."""

    vocab_size: int = Field(ge=512, le=262_144)
    hidden_size: int = Field(ge=32, le=32_768)
    heads: Heads
    context_length: int = Field(ge=32, le=1_048_576)
    tie_embeddings: bool = True

    def _common(self) -> dict[str, Any]:
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.heads,
            "max_position_embeddings": self.context_length,
            "tie_word_embeddings": self.tie_embeddings,
        }


class _Grouped(Decoder):
    """Attention in which `heads` queries share `kv_heads` keys and values."""

    layers: Layers
    kv_heads: Heads
    intermediate_size: Width

    @model_validator(mode="after")
    def _divisible(self) -> _Grouped:
        if self.hidden_size % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError("hidden_size must be a multiple of twice the heads, and kv_heads must divide heads")
        return self

    def _common(self) -> dict[str, Any]:
        return super()._common() | {
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.intermediate_size,
        }


class Llama(_Grouped):
    """A dense decoder (Touvron et al., 2023)."""

    family: Literal["llama"] = "llama"

    def hugging_face(self) -> dict[str, Any]:
        return self._common() | {"model_type": self.family, "rms_norm_eps": 1e-5}


class Olmo(_Grouped):
    """A dense decoder with normed queries and keys and norms after the blocks (OLMo 3); three layers of four see
    `sliding_window` tokens."""

    family: Literal["olmo3"]
    sliding_window: int = Field(default=4096, ge=16)

    def hugging_face(self) -> dict[str, Any]:
        return self._common() | {"model_type": self.family, "sliding_window": self.sliding_window}


class _Routed(Document):
    """`experts_per_token` of `experts` see each token."""

    experts: Experts
    experts_per_token: Experts

    @model_validator(mode="after")
    def _enough_experts(self) -> _Routed:
        if self.experts_per_token > self.experts:
            raise ValueError("experts_per_token exceeds experts")
        return self


class Mixtral(_Routed, _Grouped):
    """A mixture of experts in every layer (Jiang et al., 2024); `intermediate_size` is that of one expert."""

    family: Literal["mixtral"]

    def hugging_face(self) -> dict[str, Any]:
        return self._common() | {
            "model_type": self.family,
            "num_local_experts": self.experts,
            "num_experts_per_tok": self.experts_per_token,
        }


class Olmoe(_Routed, _Grouped):
    """Many small experts, normed queries and keys (Muennighoff et al., 2024); `intermediate_size` is that of one expert."""

    family: Literal["olmoe"]

    def hugging_face(self) -> dict[str, Any]:
        return self._common() | {
            "model_type": self.family,
            "num_experts": self.experts,
            "num_experts_per_tok": self.experts_per_token,
        }


class Mistral4(_Routed, Decoder):
    """Shared and routed experts over latent attention (Mistral Small 4): queries and keys/values pass through
    `q_lora_rank` and `kv_lora_rank` dimensions, of each head `rope_head_size` carry the position."""

    family: Literal["mistral4"]
    layers: Layers
    intermediate_size: Width  # of one expert
    shared_experts: Experts = 1
    dense_layers: int = Field(default=0, ge=0, le=256)  # at the bottom, without experts
    dense_intermediate_size: Width = 12_288
    q_lora_rank: Width = 1024
    kv_lora_rank: Width = 256
    rope_head_size: Width = 64
    plain_head_size: Width = 64
    value_head_size: Width = 128

    def hugging_face(self) -> dict[str, Any]:
        return self._common() | {
            "model_type": self.family,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.heads,
            "intermediate_size": self.dense_intermediate_size,
            "moe_intermediate_size": self.intermediate_size,
            "n_routed_experts": self.experts,
            "n_shared_experts": self.shared_experts,
            "num_experts_per_tok": self.experts_per_token,
            "first_k_dense_replace": self.dense_layers,
            "q_lora_rank": self.q_lora_rank,
            "kv_lora_rank": self.kv_lora_rank,
            "qk_rope_head_dim": self.rope_head_size,
            "qk_nope_head_dim": self.plain_head_size,
            "v_head_dim": self.value_head_size,
            "rope_parameters": self._rope(),
        }

    def _rope(self) -> dict[str, Any]:
        """Positions beyond 8,192 are stretched (Peng et al., YaRN, 2023), with the constants of Mistral Small 4."""
        return {
            "partial_rotary_factor": self.rope_head_size / (self.rope_head_size + self.plain_head_size),
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": max(1.0, self.context_length / _UNSTRETCHED),
            "original_max_position_embeddings": min(_UNSTRETCHED, self.context_length),
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        }


class Nemotron(_Routed, Decoder):
    """A hybrid (Nemotron-H, 2025): `pattern` names the layers, M state space (Mamba 2), * attention, E experts, - dense.

    `intermediate_size` is that of one routed expert.
    """

    family: Literal["nemotron_h"]
    pattern: Annotated[str, StringConstraints(pattern=r"^[ME*-]{1,256}$")]
    kv_heads: Heads
    head_size: Width
    intermediate_size: Width
    shared_intermediate_size: Width
    dense_intermediate_size: Width = 21_504
    shared_experts: Experts = 1
    mamba_heads: Heads
    mamba_head_size: Width
    mamba_groups: Heads = 8
    state_size: Width = 128
    routed_scale: float = Field(default=1.0, gt=0, le=100)

    @model_validator(mode="after")
    def _divisible(self) -> Nemotron:
        if self.heads % self.kv_heads or self.mamba_heads % self.mamba_groups:
            raise ValueError("kv_heads must divide heads, and mamba_groups must divide mamba_heads")
        return self

    def hugging_face(self) -> dict[str, Any]:
        return self._common() | {
            "model_type": self.family,
            "hybrid_override_pattern": self.pattern,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "intermediate_size": self.dense_intermediate_size,
            "moe_intermediate_size": self.intermediate_size,
            "moe_shared_expert_intermediate_size": self.shared_intermediate_size,
            "n_routed_experts": self.experts,
            "n_shared_experts": self.shared_experts,
            "num_experts_per_tok": self.experts_per_token,
            "routed_scaling_factor": self.routed_scale,
            "mamba_num_heads": self.mamba_heads,
            "mamba_head_dim": self.mamba_head_size,
            "n_groups": self.mamba_groups,
            "ssm_state_size": self.state_size,
        }


def _family(value: Any) -> Any:
    """A spec that names no family means llama: the first specs had no other."""
    return value.get("family", "llama") if isinstance(value, dict) else getattr(value, "family", "llama")


Architecture = Annotated[
    Annotated[Llama, Tag("llama")]
    | Annotated[Olmo, Tag("olmo3")]
    | Annotated[Mixtral, Tag("mixtral")]
    | Annotated[Olmoe, Tag("olmoe")]
    | Annotated[Mistral4, Tag("mistral4")]
    | Annotated[Nemotron, Tag("nemotron_h")],
    Discriminator(
        _family,
        custom_error_type="family",
        custom_error_message="is no family of models; choose llama, olmo3, mixtral, olmoe, mistral4 or nemotron_h",
    ),
]
