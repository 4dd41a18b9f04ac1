"""Changes in fewer bytes, as safetensors. What compression loses can be added to the next change by who keeps it.

Then the sum of what is sent stays as near to the sum of the changes as one message's loss: error feedback, Seide et al., "1-Bit
Stochastic Gradient Descent", 2014; Karimireddy et al., arXiv:1901.09847. That is for small steps: a change that was trained to
its end, from where the last message led, makes up by itself for what that message lacked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learning.updates import check_names_and_shapes, load_tensors, save_tensors
from trust.errors import Invalid

How = Literal["fp32", "bf16", "int8", "top-k"]
_STEPS = 127
_SCALE, _AT = ".scale", ".at"


@dataclass(frozen=True)
class Packed:
    """`data` is what to send of the `whole`, fp32 by name."""

    data: bytes
    how: How
    whole: Mapping[str, Tensor]

    @property
    def lost(self) -> dict[str, Tensor]:
        """What the receiver will not have: fp32, of the names and shapes of the whole."""
        sent = expand(self.data, self.how, self.whole)
        return {name: self.whole[name] - sent[name] for name in sorted(self.whole)}


def compress(
    change: Mapping[str, Tensor], how: How, lost: Mapping[str, Tensor] | None = None, keep: float = 0.01
) -> Packed:
    """`change` and what was `lost` before, packed. "int8" keeps a scale for each row (the last dimension), "top-k" the `keep`
    largest share of each tensor's values, at least one.

    Raises `Invalid` for values that are not finite, for other names or shapes lost, and for a `keep` outside 0 to 1.
    """
    if not 0 < keep <= 1:
        raise Invalid(f"A share of {keep} cannot be kept.", "Give more than 0, at most 1.", field="keep")
    if lost is not None:
        check_names_and_shapes(lost, change)
    whole = {name: tensor.float() + (lost[name] if lost else 0) for name, tensor in change.items()}
    for name, tensor in whole.items():
        if not bool(torch.isfinite(tensor).all()):
            raise Invalid(f"Tensor {name} holds NaN or infinity.", "Lower the learning rate.", field=name)
    data = save_tensors({key: part for name, tensor in whole.items() for key, part in _packed(name, tensor, how, keep)})
    return Packed(data, how, whole)


def expand(data: bytes, how: How, reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The change in `data`, of the names and shapes of `reference`: fp32, sorted by name.

    It takes the memory of the reference and of the data. Raises `Invalid` for
    bytes that are not what `compress` makes, whoever sent them.
    """
    change = expanding(load_tensors(data), how, reference)
    return {name: change(name) for name in sorted(reference)}


def expanding(parts: Mapping[str, Tensor], how: How, reference: Mapping[str, Tensor]) -> Callable[[str], Tensor]:
    """As `expand`, of its tensors, one at a time as each is asked for: then it raises too."""
    suffix = {"int8": _SCALE, "top-k": _AT}.get(how)
    expected = {*reference, *(name + suffix for name in reference if suffix)}
    if parts.keys() != expected:
        raise Invalid(
            f"The change does not hold the tensors of {how}.", "Send what the round asked for.", field="change"
        )
    return lambda name: _expanded(name, parts, how, reference[name].shape)


def _packed(name: str, tensor: Tensor, how: How, keep: float) -> list[tuple[str, Tensor]]:
    if how == "int8":
        rows = _rows(tensor)
        scale = rows.abs().amax(1) / _STEPS
        steps = (rows / scale.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(1)).round().clamp(-_STEPS, _STEPS)
        return [(name, steps.to(torch.int8).view(tensor.shape)), (name + _SCALE, scale)]
    if how == "top-k":
        flat = tensor.flatten()
        at = flat.abs().topk(max(1, math.floor(keep * len(flat)))).indices.sort().values if len(flat) else flat.long()
        return [(name, flat[at]), (name + _AT, at.to(torch.int32))]
    return [(name, tensor.to(torch.bfloat16 if how == "bf16" else torch.float32))]


def _expanded(name: str, parts: Mapping[str, Tensor], how: How, shape: torch.Size) -> Tensor:
    part, todo = parts[name], "Send what the round asked for."
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8, "top-k": torch.float32}[how]
    if part.dtype != dtype or (how != "top-k" and part.shape != shape):
        raise Invalid(f"Tensor {name} is {part.dtype} {list(part.shape)}, not {dtype} {list(shape)}.", todo, field=name)
    if how == "top-k":
        return _scattered(name, part, parts[name + _AT], shape)
    if how != "int8":
        return part.float()
    rows, scale = _rows(part), parts[name + _SCALE]
    if (
        scale.dtype != torch.float32
        or scale.shape != rows.shape[:1]
        or not bool(((scale >= 0) & scale.isfinite()).all())
    ):
        raise Invalid(f"The scales of {name} are not one number for each row.", todo, field=name)
    return (rows.float() * scale.unsqueeze(1)).view(shape)


def _scattered(name: str, values: Tensor, at: Tensor, shape: torch.Size) -> Tensor:
    size = math.prod(shape)
    placed = at.dtype == torch.int32 and at.ndim == 1 and at.shape == values.shape
    if not placed or (len(at) and not (int(at[0]) >= 0 and int(at[-1]) < size and bool((at.diff() > 0).all()))):
        raise Invalid(
            f"The places of {name} are not rising ones within it.", "Send what the round asked for.", field=name
        )
    return torch.zeros(size).index_put_((at.long(),), values).view(shape)


def _rows(tensor: Tensor) -> Tensor:
    """[rows, last dimension]; of a vector or a number, one row."""
    return tensor.reshape(-1, tensor.shape[-1]) if tensor.ndim > 1 and tensor.numel() else tensor.reshape(1, -1)
