"""The calls about witnesses, and what their answers prove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from contributors.calling import DEADLINE
from contributors.client import Coalition
from protos.coalition.v1 import common_pb2, witnesses_pb2, witnesses_pb2_grpc
from protos.transport.errors import from_rpc_error

Result = TypeVar("Result")


def standing(hub: Coalition) -> witnesses_pb2.Standing:
    """Who witnesses, and how much of the ledger is final."""
    return _call(_stub(hub).GetStanding, witnesses_pb2.GetStandingRequest())


def enrol_witness(hub: Coalition, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
    return _call(_stub(hub).EnrolWitness, statement)


def set_policy(hub: Coalition, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
    return _call(_stub(hub).SetPolicy, statement)


def _stub(hub: Coalition) -> witnesses_pb2_grpc.WitnessesStub:
    return witnesses_pb2_grpc.WitnessesStub(hub.channel)


def _call(method: Callable[..., Result], request: Any) -> Result:
    try:
        return method(request, timeout=DEADLINE)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
