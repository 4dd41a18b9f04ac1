"""Rules that a minority of bad updates cannot move far. They compare members, so they hold every update of the round.

Coordinates are compared as they are: of low-rank adapters, those of A and B apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

Update = Mapping[str, Tensor]
_SLICE = 1 << 18
"""Values of all updates together that are compared at a time."""


def trimmed_mean(updates: Sequence[Update], trim: int, shelf: Shelf = IN_MEMORY) -> dict[str, Tensor]:
    """The mean of every coordinate without its `trim` smallest and `trim` largest values: fp32, sorted by name.

    Yin et al., arXiv:1803.01498, definition 2: stands up to `trim` bad updates. NaN counts as the largest value. Raises `Invalid`
    where nothing would remain, and for other names or shapes. The result lies on the `shelf`.
    """
    _check(updates)
    if not 0 <= 2 * trim < len(updates):
        raise Invalid(f"Nothing remains of {len(updates)} updates without {trim} on each side.", field="trim")

    def middle(name: str) -> Tensor:
        found = torch.empty(updates[0][name].numel())
        for start, values in _slices(updates, name):
            ordered = values.float().sort(0).values[trim : len(updates) - trim]
            found[start : start + values.shape[1]] = ordered.double().mean(0)
        return found.view(updates[0][name].shape)

    return shelf.filled(updates[0], middle)


def coordinate_median(updates: Sequence[Update], shelf: Shelf = IN_MEMORY) -> dict[str, Tensor]:
    """The median of every coordinate (the mean of the middle two of an even number): Yin et al., definition 1; stands up to
    fewer bad updates than half. Raises as `trimmed_mean`."""
    return trimmed_mean(updates, (len(updates) - 1) // 2, shelf)


def krum(updates: Sequence[Update], bad: int, keep: int = 1) -> tuple[int, ...]:
    """Positions of the `keep` updates nearest to their nearest `len(updates) - bad - 2` others, the nearest first.

    Krum, and for `keep` above 1 Multi-Krum: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent", 2017. Raises `Invalid` where it would not stand up to `bad` ones: for fewer than 2 * `bad` + 3 updates, and for
    keeping more than are surely good.
    """
    _check(updates)
    count = len(updates)
    if bad < 0 or count < 2 * bad + 3:
        raise Invalid(f"Krum stands up to {bad} bad updates of {2 * bad + 3} or more, not of {count}.", field="bad")
    if not 1 <= keep <= count - bad:
        raise Invalid(f"Keep 1 to {count - bad} of {count} updates, not {keep}.", field="keep")
    distances = _distances(updates)
    distances.fill_diagonal_(math.inf)
    near = distances.sort(1).values[:, : count - bad - 2].sum(1)
    return tuple(near.argsort(stable=True)[:keep].tolist())


def clipped(
    update: Update, reference: Update, most: float, shelf: Shelf = IN_MEMORY
) -> tuple[dict[str, Tensor], float]:
    """`update`, brought back towards `reference` to a distance of `most`, and the distance that it had (L2, over all tensors).

    Norm clipping, Sun et al., arXiv:1911.07963. The result lies on the `shelf`. Raises `Invalid` for other names or shapes
    and a bound that is not positive.
    """
    if not most > 0:
        raise Invalid(f"An update cannot be clipped to {most}.", "Give a positive number.", field="most")
    check_names_and_shapes(update, reference)

    def change(name: str) -> Tensor:
        return update[name].float() - reference[name].float()

    norm = math.sqrt(sum(float(change(name).double().square().sum()) for name in sorted(reference)))
    scale = min(1.0, most / norm) if norm else 1.0
    return shelf.filled(reference, lambda name: reference[name].float() + scale * change(name)), norm


def _distances(updates: Sequence[Update]) -> Tensor:
    """Squared L2 distances, fp64 [n, n]; infinite to and from what is not finite."""
    found = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    for name in updates[0]:
        for _, values in _slices(updates, name):
            flat = values.double()
            found += torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square()
    return found.nan_to_num(nan=math.inf, posinf=math.inf)


def _slices(updates: Sequence[Update], name: str) -> Iterator[tuple[int, Tensor]]:
    """A tensor of all updates, [n, values], slice by slice with the place where each begins: all are n times a model."""
    flat = [update[name].flatten() for update in updates]
    step = max(1, _SLICE // len(flat))
    for start in range(0, len(flat[0]), step):
        yield start, torch.stack([each[start : start + step] for each in flat])


def _check(updates: Sequence[Update]) -> None:
    if not updates:
        raise Invalid("There is no update to average.", "Wait for at least one reply.")
    for update in updates:
        check_names_and_shapes(update, updates[0])
