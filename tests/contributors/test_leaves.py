"""The leaves that the hub hands out make its signed head, or nothing is believed."""

from __future__ import annotations

import pytest

from contributors.client import Coalition
from contributors.leaves import Leaves
from tests.contributors.served import Hub
from trust.errors import Corrupt
from trust.merkle import leaf_hash
from trust.notes import TreeHead, sign_tree_head


def test_each_look_reads_what_is_new_and_nothing_twice(hub: Hub, client: Coalition) -> None:
    leaves = Leaves(client)
    first = list(leaves.new())
    assert [index for index, _ in first] == list(range(hub.base.log.size))
    assert list(leaves.new()) == []
    hub.home("University")
    ((index, leaf),) = leaves.new()
    assert (index, leaf.kind, leaf.id) == (len(first), "member", "university")


def test_the_ledger_goes_on_from_what_the_home_has_seen(hub: Hub, client: Coalition) -> None:
    """A head that the hub signed once and no longer stands by, whatever it shows now."""
    client.home.remember_head(client.head().note)
    hub.home("University")
    assert len(list(Leaves(client).new())) == hub.base.log.size
    for size, what in ((1, "do not make the signed head of 1 entries"), (99, "shrank from 99")):
        other = TreeHead(hub.base.log.head.origin, size, leaf_hash(b"another"))
        client.home.remember_head(sign_tree_head(other, hub.base.log_key))
        with pytest.raises(Corrupt, match=what):
            Leaves(client).new()
