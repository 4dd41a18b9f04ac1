"""Where a gang fits: near together, on nodes of one kind, and so that others still fit."""

from __future__ import annotations

from hub.training.placement.cluster import Cluster
from hub.training.placement.values import Needs, Node

GPU = ("NVIDIA H200",)


def racks(**sizes: int) -> list[Node]:
    return [
        Node(f"{rack}-{n}", GPU * 8, labels={"rack": rack}) for rack, size in sizes.items() for n in range(1, size + 1)
    ]


def fit(nodes: list[Node], needs: Needs) -> tuple[str, ...]:
    cluster = Cluster(nodes)
    places = cluster.fit(cluster.free, needs)
    return () if places is None else cluster.named(places)


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    assert fit([Node("a")], Needs(2)) == ()
    assert fit([Node("c"), Node("b"), Node("a")], Needs(2)) == ("a", "b")


def test_nodes_with_and_without_accelerators_do_not_mix_and_the_faster_are_taken() -> None:
    assert fit([Node("a"), Node("b", GPU), Node("c")], Needs(2)) == ("a", "c")
    assert fit([Node("a"), Node("b", GPU), Node("c"), Node("d", GPU)], Needs(2)) == ("b", "d")


def test_more_memory_comes_first() -> None:
    assert fit([Node("a", memory=1), Node("b", memory=2)], Needs(1)) == ("b",)


def test_the_holders_of_the_shards_are_taken_again_in_the_order_of_their_ranks() -> None:
    nodes = [Node("a"), Node("b"), Node("c")]
    assert fit(nodes, Needs(2, holders=("c", "b"))) == ("c", "b")
    assert fit(nodes[:2], Needs(2, holders=("c", "b"))) == ("a", "b")


def test_the_smallest_rack_that_holds_the_gang_is_taken() -> None:
    assert fit(racks(wide=4, narrow=2), Needs(2, 8)) == ("narrow-1", "narrow-2")
    assert fit(racks(wide=4, narrow=2), Needs(3, 8)) == ("wide-1", "wide-2", "wide-3")


def test_a_gang_larger_than_a_rack_takes_as_few_as_can_be_and_neighbours_have_neighbouring_ranks() -> None:
    assert fit(racks(a=2, b=4, c=1), Needs(5, 8)) == ("b-1", "b-2", "b-3", "b-4", "c-1")


def test_a_narrower_domain_comes_first_within_a_wider_one() -> None:
    nodes = [
        Node(f"{nvlink}{n}", GPU * 4, labels={"ib": "one", "rack": "r", "nvlink": nvlink})
        for n in range(2)
        for nvlink in "xy"
    ]
    assert set(fit(nodes, Needs(2, 4))) == {"x0", "x1"}


def test_a_rack_that_is_said_comes_before_nodes_that_say_nothing() -> None:
    assert set(fit([Node("a", GPU), Node("b", GPU), *racks(r=2)[:2]], Needs(2))) == {"r-1", "r-2"}


def test_part_of_a_node_is_taken_from_the_fullest_so_that_whole_nodes_stay_for_gangs() -> None:
    assert fit([Node("empty", GPU * 8), Node("busy", GPU * 8, taken=6)], Needs(1, 2)) == ("busy",)
    assert fit([Node("empty", GPU * 8), Node("busy", GPU * 8, taken=6)], Needs(1, 2, whole=True)) == ("empty",)


def test_what_a_job_asks_for_is_kept() -> None:
    nodes = [
        Node("h", GPU, accelerator_memory=140, labels={"room": "1"}),
        Node("a", ("NVIDIA A100",), accelerator_memory=80, labels={"room": "2"}),
        Node("c", memory=64, cores=4),
        Node("ill", ("NVIDIA B200",), accelerator_memory=180, healthy=False),
    ]
    assert fit(nodes, Needs(1, accelerator="a100")) == ("a",)
    assert fit(nodes, Needs(1, accelerator="b200")) == ()
    assert fit(nodes, Needs(1, memory=100)) == ("h",)
    assert fit(nodes, Needs(1, labels=(("room", "2"),))) == ("a",)
    assert fit(nodes, Needs(1, among=frozenset({"c"}))) == ("c",)
    assert fit(nodes, Needs(1, 4, memory=16)) == ("c",)
    assert fit(nodes, Needs(1, 4, memory=17)) == ()
