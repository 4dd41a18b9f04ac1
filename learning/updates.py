"""What a site sends back: tensors as safetensors bytes, and the checks that come before anybody averages them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trust.errors import Invalid


def save_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Safetensors bytes; equal tensors give equal bytes, whatever their order. dtypes are kept."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    data: bytes = save(plain)
    return data


def load_tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors in safetensors `data`, sorted by name. Raises `Invalid` where the bytes are something else."""
    try:
        tensors: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"The tensors cannot be read: {error}.", "Send safetensors bytes.") from error
    return {name: tensors[name] for name in sorted(tensors)}


def check_names_and_shapes(tensors: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> None:
    """Raise `Invalid`, naming the first difference, unless both hold the same names with the same shapes."""
    todo = "Train from the adapter this round sent out."
    for name in sorted(reference.keys() - tensors.keys()):
        raise Invalid(f"The update lacks the tensor {name}.", todo, field=name)
    for name in sorted(tensors.keys() - reference.keys()):
        raise Invalid(f"The update holds an unexpected tensor {name[:200]}.", todo, field=name[:200])
    for name, expected in reference.items():
        if tensors[name].shape != expected.shape:
            found = list(tensors[name].shape)
            raise Invalid(f"Tensor {name} has shape {found}, not {list(expected.shape)}.", todo, field=name)


def check_update(
    update: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
    max_norm_ratio: float = 10.0,
    max_norm: float | None = None,
) -> float:
    """The L2 norm, over all tensors, of `update - reference`, once the update is found fit to be averaged.

    Raises `Invalid` with the reason for other names, shapes or dtypes, for values that are not finite, and where the
    norm exceeds `max_norm_ratio` times the norm of `reference` or exceeds `max_norm`. The bound limits how far one site
    can pull an average (compare norm clipping, Sun et al., arXiv:1911.07963); poisoning within it goes unseen.
    """
    check_names_and_shapes(update, reference)
    squared_change = squared_reference = 0.0
    for name, expected in reference.items():
        found = update[name]
        if found.dtype != expected.dtype:
            raise Invalid(f"Tensor {name} is {found.dtype}, not {expected.dtype}.", "Keep the dtype.", field=name)
        before = expected.to(torch.float64)
        changed = float((found.to(torch.float64) - before).square().sum())
        if not math.isfinite(changed):  # no sum of finite fp32 squares is infinite in fp64
            raise Invalid(f"Tensor {name} holds NaN or infinity.", "Lower the learning rate.", field=name)
        squared_change += changed
        squared_reference += float(before.square().sum())
    norm = math.sqrt(squared_change)
    bound = math.inf if max_norm is None else max_norm
    if math.isfinite(max_norm_ratio):  # or no bound times a reference of nothing were not a number
        bound = min(bound, max_norm_ratio * math.sqrt(squared_reference))
    if norm > bound:
        raise Invalid(
            f"The update moves by {norm:.4g}, over the bound of {bound:.4g}.",
            "Train fewer steps or lower the learning rate.",
            field="norm",
        )
    return norm
