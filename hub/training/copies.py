"""A rank's piece of a run's state that any number of ranks can go on from: safetensors, so that no peer's pickle is ever loaded.

A piece holds what its rank's optimizer owns: of each parameter a stretch of its elements, flat and in fp32, once for the weights
and once for each of the optimizer's states; rank 0's also the model's buffers. All pieces together are the whole, however it was
cut. What a tensor is stands in its name, `START/KEY/PARAMETER`: the stretch begins at that element of the parameter.
(The idea is that of universal checkpoints: Lian et al., 2024, arXiv:2406.18820; DeepSpeed's own are pickles.)
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trust.errors import Invalid

WEIGHT, BUFFER = "weight", "buffer"
_STATES = ({"exp_avg", "exp_avg_sq"}, {"momentum"})  # of AdamW, and of `learning.muon` for matrices
_NAME = re.compile(r"(\d{1,15})/(weight|buffer|exp_avg|exp_avg_sq|momentum)/(.{1,500})")


@dataclass(frozen=True)
class Piece:
    """Copied tensors of one rank by their names, and what goes with them: the step, how often the optimizer has moved, and the
    course beyond the weights."""

    tensors: Mapping[str, Tensor]
    said: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Under its name only when it is whole: who sees it on a shared disk may read it. Raises `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        try:
            partial.write_bytes(save(dict(self.tensors), {"said": json.dumps(self.said)}))
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Own:
    """Where a stretch of a parameter lies in what this rank's optimizer moves: `numel` elements from `start` of the parameter on,
    from `at` on in `flat`."""

    name: str
    start: int
    numel: int
    flat: Tensor
    at: int
    on_all: bool = False  # every rank has the same

    def of(self, state: Tensor) -> Tensor:
        return state.detach().view(-1)[self.at : self.at + self.numel]


def piece(engine: Any, step: int, course: Mapping[str, Any]) -> Piece:
    """What this rank owns at the end of a step, copied to the processor's memory."""
    optimizer = _inner(engine)
    tensors, updates = {}, 0
    first = torch.distributed.get_rank() == 0
    for own in _owned(engine):
        if own.on_all and not first:
            continue
        states = optimizer.state[own.flat]
        updates = max(updates, int(states.get("step", 0)))
        kept = {key: state for key, state in states.items() if _follows(state, own.flat)}
        for key, state in (kept | {WEIGHT: own.flat}).items():
            tensors[f"{own.start}/{key}/{own.name}"] = own.of(state).to("cpu", torch.float32, copy=True)
    if first:
        for name, buffer in _buffers(engine.module).items():
            tensors[f"0/{BUFFER}/{name}"] = buffer.detach().to("cpu", copy=True).contiguous()
    return Piece(tensors, {"step": step, "updates": updates, "course": course})


def restore(engine: Any, step: int, paths: Sequence[Path]) -> Mapping[str, Any]:
    """Set an engine that has not trained yet to what all pieces say of a step; answers with the course.

    Raises `Invalid` where they are not the whole state of this model at this step.
    """
    try:
        with torch.no_grad():
            return _restore(engine, step, _Whole(paths))
    except (
        SafetensorError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
    ) as error:  # not: no memory, a lost rank
        raise Invalid(f"The copy of step {step} cannot be read: {error!r:.200}.") from None


def _restore(engine: Any, step: int, whole: _Whole) -> Mapping[str, Any]:
    if whole.said["step"] != step:
        raise Invalid(f"The copy is not of step {step}.")
    sizes = {name: getattr(p, "ds_numel", p.numel()) for name, p in engine.module.named_parameters()}
    for name, size in sizes.items():
        whole.check(name, size)
    optimizer = _inner(engine)
    for own in _owned(engine):
        states = optimizer.state[own.flat]
        for key in whole.keys(own.name):
            if key == WEIGHT:
                own.of(own.flat).copy_(whole.read(own.name, key, own.start, own.numel))
                continue
            if key not in states:
                states[key] = torch.zeros_like(own.flat)
            own.of(states[key]).copy_(whole.read(own.name, key, own.start, own.numel))
            if key.startswith("exp_"):
                states["step"] = torch.tensor(float(whole.said["updates"]), device=own.flat.device)
    for name, parameter in engine.module.named_parameters():
        _set_model(parameter, whole, name, sizes[name])
    for name, buffer in _buffers(engine.module).items():
        buffer.copy_(whole.buffer(name, buffer))
    if hasattr(engine.optimizer, "checkpoint_event_epilogue"):  # ZeRO 3 keeps small parameters whole
        engine.optimizer.checkpoint_event_epilogue()
    engine.global_steps, engine.global_samples = step, step * engine.train_batch_size()
    return dict(whole.said["course"])


def _set_model(parameter: Any, whole: _Whole, name: str, size: int) -> None:
    """The weights that the model computes with, in their precision, from the optimizer's."""
    if not hasattr(parameter, "ds_tensor"):
        parameter.copy_(whole.read(name, WEIGHT, 0, size).view(parameter.shape))
        return
    each = parameter.ds_tensor.numel()
    begin = torch.distributed.get_rank() * each
    if (count := min(each, size - begin)) > 0:
        parameter.ds_tensor.view(-1)[:count].copy_(whole.read(name, WEIGHT, begin, count))


def _owned(engine: Any) -> Iterator[_Own]:
    """What this rank's optimizer moves, parameter by parameter; the layouts are those of DeepSpeed 0.19.8."""
    rank, optimizer, masters = torch.distributed.get_rank(), _inner(engine), _masters(engine)
    for name, parameter in engine.module.named_parameters():
        if hasattr(parameter, "ds_tensor"):  # ZeRO 3: equal parts of each parameter, the last filled up
            zero = engine.optimizer
            group, at, _ = zero.grad_position[zero.get_param_id(parameter)]
            each = parameter.ds_tensor.numel()
            count = min(each, parameter.ds_numel - rank * each)
            if count > 0:
                yield _Own(name, rank * each, count, zero.fp32_partitioned_groups_flat[group], at)
        elif hasattr(parameter, "_hp_mapping"):  # ZeRO 1 and 2, bf16: equal parts of each group, laid end to end
            if (mapping := parameter._hp_mapping) is not None:
                low, high = mapping.lp_fragment_address, mapping.hp_fragment_address
                (flat,) = optimizer.param_groups[mapping.param_group_index]["params"]
                yield _Own(name, low.start, low.numel, flat, high.start)
        else:
            yield _Own(name, 0, parameter.numel(), masters.get(id(parameter), parameter), 0, on_all=True)


def _masters(engine: Any) -> dict[int, Tensor]:
    """Without ZeRO, the optimizer's fp32 tensors of parameters in bf16, by the parameters' identity."""
    if not hasattr(engine.optimizer, "fp32_groups"):
        return {}
    groups = zip(engine.optimizer.fp16_groups, engine.optimizer.fp32_groups, strict=True)
    return {id(low): high for lows, highs in groups for low, high in zip(lows, highs, strict=True)}


def _inner(engine: Any) -> torch.optim.Optimizer:
    """The optimizer that DeepSpeed's is wrapped around."""
    inner: torch.optim.Optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    return inner


def _follows(state: Any, flat: Tensor) -> bool:
    return isinstance(state, Tensor) and state.shape == flat.shape


def _buffers(model: Any) -> dict[str, Tensor]:
    """Those that belong to the model's state."""
    kept = model.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}


class _Whole:
    """All pieces of a copy: only what is asked for is read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        files: list[Any] = [safe_open(path, "pt") for path in paths]
        saids = [json.loads(file.metadata()["said"]) for file in files]
        if not saids or any(said["step"] != saids[0]["step"] for said in saids):
            raise ValueError("the pieces are of different steps")
        self.said = saids[0] | {"updates": max(int(said["updates"]) for said in saids)}
        self._stretches: dict[tuple[str, str], list[tuple[int, int, Any, str]]] = {}
        for file in files:
            for full in file.keys():  # noqa: SIM118  (no mapping)
                if not (found := _NAME.fullmatch(full)):
                    raise ValueError(f"a tensor is called {full[:80]!r}")
                count = math.prod(file.get_slice(full).get_shape())
                self._stretches.setdefault((found[3], found[2]), []).append((int(found[1]), count, file, full))
        for stretches in self._stretches.values():
            stretches.sort(key=lambda stretch: stretch[:2])

    def keys(self, name: str) -> list[str]:
        return [key for parameter, key in self._stretches if parameter == name and key != BUFFER]

    def check(self, name: str, size: int) -> None:
        """Raises `ValueError` unless weights and states are there without a gap."""
        if {*self.keys(name)} - {WEIGHT} not in _STATES or WEIGHT not in self.keys(name):
            raise ValueError(f"of {name} there is only {self.keys(name)}")
        for key in self.keys(name):
            end = 0
            for start, count, *_ in self._stretches[name, key]:
                if start != end:
                    raise ValueError(f"the stretches of {name} ({key}) do not join at {end}")
                end += count
            if end != size:
                raise ValueError(f"{key} of {name} has {end} elements, not {size}")

    def read(self, name: str, key: str, start: int, numel: int) -> Tensor:
        """So many elements from `start` on."""
        parts = []
        for begin, count, file, full in self._stretches[name, key]:
            first, last = max(begin, start), min(begin + count, start + numel)
            if first < last:
                parts.append(file.get_slice(full)[first - begin : last - begin])
        return torch.cat(parts)

    def buffer(self, name: str, like: Tensor) -> Tensor:
        """Raises `ValueError` where it has another shape."""
        ((_, _, file, full),) = self._stretches[name, BUFFER]
        found: Tensor = file.get_tensor(full)
        if found.shape != like.shape or found.dtype != like.dtype:
            raise ValueError(f"the buffer {name} has another shape")
        return found
