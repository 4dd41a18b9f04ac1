from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from learning.aggregation.stepping import adaptive_step, outer_step
from trust.errors import Invalid


def _updates(count: int, seed: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {"a": torch.randn(3, 2, generator=generator), "b": torch.randn(5, generator=generator)} for _ in range(count)
    ]


def test_a_plain_outer_step_is_the_mean() -> None:
    current, mean = _updates(2, 1)
    after, _ = outer_step(current, mean)
    torch.testing.assert_close(after, mean)


def test_the_outer_step_is_that_of_torch() -> None:
    current, *means = _updates(4, 2)
    parameter = torch.nn.Parameter(current["a"].clone())
    peer = torch.optim.SGD([parameter], lr=0.7, momentum=0.9, nesterov=True)
    velocity = None
    for mean in means:
        parameter.grad = parameter.detach() - mean["a"]
        peer.step()
        current, velocity = outer_step(current, mean, velocity, rate=0.7, momentum=0.9)
    torch.testing.assert_close(current["a"], parameter.detach())


def _flower(kind: str, means: list[dict[str, Tensor]], current: dict[str, Tensor], adaptivity: float) -> dict[str, Any]:
    """What Flower's strategy makes of one reply a round, from the paper's second moment, and so late that Adam's correction of
    the bias (which the paper has not) is 1."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp.strategy import FedAdam, FedYogi

    strategy = (FedAdam if kind == "adam" else FedYogi)(eta=0.3, beta_1=0.8, beta_2=0.95, tau=adaptivity)
    strategy.v_t = {name: np.full_like(tensor.numpy(), adaptivity**2) for name, tensor in current.items()}
    arrays = {name: tensor.numpy() for name, tensor in current.items()}
    for mean in means:
        strategy.current_arrays = arrays
        record = ArrayRecord({name: Array(tensor.numpy()) for name, tensor in mean.items()})
        content = RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 1})})
        question = Message(RecordDict(), dst_node_id=1, message_type="train")
        found, _ = strategy.aggregate_train(1 << 40, [Message(content, reply_to=question)])
        assert found is not None
        arrays = {name: array.numpy() for name, array in found.items()}
    return arrays


@pytest.mark.parametrize("kind", ["adam", "yogi"])
def test_adaptive_steps_are_those_of_flower(kind: Literal["adam", "yogi"], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flwr.supercore.task_identity.TaskIdentity._run_id", 1)  # a message asks whose it is
    monkeypatch.setattr("flwr.supercore.task_identity.TaskIdentity._task_id", 1)
    monkeypatch.setattr("flwr.supercore.task_identity.TaskIdentity._node_id", 1)
    start, *means = _updates(6, 3)
    current, moments = start, None
    for mean in means:
        current, moments = adaptive_step(current, mean, moments, kind, 0.3, (0.8, 0.95), 1e-2)
    expected = {name: torch.from_numpy(array).float() for name, array in _flower(kind, means, start, 1e-2).items()}
    torch.testing.assert_close(current, expected, rtol=1e-4, atol=1e-5)


def test_yogi_forgets_a_large_change_more_slowly() -> None:
    """The reason for its sign: the second moment falls by a constant share of the change, not of itself."""
    still = {"a": torch.zeros(1)}
    large, small = {"a": torch.full((1,), 10.0)}, {"a": torch.full((1,), 0.1)}
    seconds = []
    for kind in ("adam", "yogi"):
        _, moments = adaptive_step(still, large, None, kind)  # type: ignore[arg-type]
        for _ in range(50):
            _, moments = adaptive_step(still, small, moments, kind)  # type: ignore[arg-type]
        seconds.append(moments.second["a"].item())
    assert seconds[0] < 0.7 < 0.99 < seconds[1]


def test_numbers_that_no_step_can_be_made_with_are_refused() -> None:
    current, mean = _updates(2, 0)
    for unfit in ({"rate": 0.0}, {"betas": (0.9, 1.0)}, {"adaptivity": 0.0}):
        with pytest.raises(Invalid, match="server optimizer"):
            adaptive_step(current, mean, None, "adam", **unfit)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="lacks"):
        adaptive_step(current, {"a": mean["a"]}, None, "adam")
