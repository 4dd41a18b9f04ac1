"""Which calls a process that does not lead answers itself: reads and uploads; all else goes to the leader, new calls too."""

from __future__ import annotations

import pytest

from hub.calls import ALLOWED
from hub.forwarding import LOCAL, is_local


def test_only_calls_that_exist_are_local() -> None:
    assert {(service, call) for service, calls in LOCAL.items() for call in calls} <= {
        (service, call) for service, calls in ALLOWED.items() for call in calls
    }


@pytest.mark.parametrize("call", ["Submissions/Commit", "Nodes/Attach", "Enrolment/Enrol", "Future/Call"])
def test_what_writes_or_is_unknown_is_carried_to_the_leader(call: str) -> None:
    assert not is_local(f"/coalition.v1.{call}")


@pytest.mark.parametrize("method", ["/coalition.v1.Ledger/GetHead", "/grpc.health.v1.Health/Check"])
def test_reads_and_health_are_everybodys_own(method: str) -> None:
    assert is_local(method)
