"""Runs and nodes as the values that placement is decided from."""

from __future__ import annotations

import math

import pytest

from hub.training import gangs
from hub.training.placement.cluster import Cluster
from hub.training.placement.values import Needs, Node
from protos.coalition.v1 import training_pb2
from protos.documents.placing import Terms
from protos.documents.runs import Placement
from tests.hub.training.test_scheduler import SPEC

H200 = training_pb2.Accelerator(kind="H200", memory=141)


def test_a_node_is_what_its_inventory_says() -> None:
    inventory = training_pb2.Inventory(cores=4, memory=8, accelerators=[H200, H200], labels={"rack": "r1"})
    assert gangs.nodes("a", inventory, busy=False) == [Node("a", ("H200",) * 2, 8, 4, {"rack": "r1"}, 141)]
    assert gangs.nodes("a", inventory, busy=True)[0].taken == 2
    assert not gangs.nodes("a", training_pb2.Inventory(health="its disk is full"), busy=False)[0].healthy


def test_what_a_node_claims_of_itself_is_bounded() -> None:
    """It can look larger than it is, but not cost the hub memory or turn numbers around."""
    boast = training_pb2.Inventory(
        cores=2**31 - 1,
        memory=-1,
        accelerators=[training_pb2.Accelerator(kind="x" * 10_000, memory=-5)] * 5000,
        labels={f"key-{n}": "v" for n in range(1000)},
    )
    (node,) = gangs.nodes("a", boast, busy=False)
    assert (len(node.accelerators), node.cores, node.memory, node.accelerator_memory) == (1024, 65_536, 0, 0)
    assert len(node.labels) == 64
    assert len(node.accelerators[0]) == 255


def test_data_is_placed_where_every_one_of_its_owners_lets_it_be() -> None:
    nodes = [Node("a", labels={"jurisdiction": "NL"}), Node("b", labels={"jurisdiction": "US"}), Node("c")]
    european = Terms("data-1", "controlled", ("EU",), "law-institute")
    anywhere = Terms("data-2", "open", ("world",), "university")
    fitting, why = gangs.admitted(nodes, [anywhere, european])
    assert fitting == {"a"}
    assert why == "data-1 is controlled and may be in EU alone, not at the node b (in US)"
    assert gangs.admitted(nodes, [anywhere]) == ({"a", "b", "c"}, "")


def test_open_data_too_is_placed_within_the_jurisdiction_that_it_names() -> None:
    nodes = [Node("a", labels={"jurisdiction": "NL"}), Node("b", labels={"jurisdiction": "US"}), Node("c")]
    fitting, why = gangs.admitted(nodes, [Terms("data-1", "open", ("US",), "university")])
    assert fitting == {"b"}
    assert why == "data-1 is open and may be in US alone, not at the node a (in NL)"


def test_a_run_goes_on_with_the_most_nodes_that_divide_its_batches() -> None:
    spec = SPEC.model_copy(update={"placement": Placement(nodes=8)})  # 16 sequences a step
    assert [gangs.fewer(spec, there) for there in (9, 7, 4, 3)] == [(8, ""), (4, ""), (4, ""), (8, "")]
    stubborn = SPEC.model_copy(update={"placement": Placement(nodes=8, fewest=5)})
    assert gangs.fewer(stubborn, 7) == (8, "A batch of 16 sequences cannot be divided among 7 ranks.")


@pytest.mark.parametrize(
    ("needs", "lacks"),
    [
        (Needs(2, 2), ""),
        (Needs(1, accelerator="a100"), ""),
        (Needs(4), "4 nodes that are alike, and fewer are"),
        (Needs(3), "3 nodes that are alike, and fewer are"),
        (Needs(2, accelerator="a100"), "2 nodes that are alike with accelerators of the kind a100, and fewer are"),
        (Needs(1, 3), "1 node with room for 3 ranks, and none is"),
        (
            Needs(1, 2, memory=1_000, labels=(("rack", "r9"),)),
            "1 node with room for 2 ranks and 1,000 bytes for each rank, and none is",
        ),
        (
            Needs(1, 2, memory=141, labels=(("rack", "r9"),)),
            "1 node with room for 2 ranks, 141 bytes for each rank and the label rack=r9, and none is",
        ),
        (Needs(2, among=frozenset(("a", "z"))), "2 nodes that are alike with its checkpoint, and fewer are"),
    ],
)
def test_what_keeps_a_gang_from_ever_fitting_is_said_up_to_where_nodes_run_out(needs: Needs, lacks: str) -> None:
    here = [Node(name, ("H200",) * 2, 8, 4, {"rack": "r1"}, 141, taken=2) for name in "ab"]
    ill = Node("c", ("H200",) * 2, 8, 4, {"rack": "r1"}, 141, healthy=False)
    cluster = Cluster([*here, ill, Node("d", ("A100",), 8, 4)])
    assert gangs.lacking(cluster, needs) == (f"it needs {lacks} attached and well" if lacks else "")


def test_where_no_node_is_attached_a_run_says_how_many_it_needs() -> None:
    assert gangs.lacking(Cluster([]), Needs(1, 8)) == "it needs 1 node, and none is attached and well"


def test_a_gang_takes_its_nodes_whole() -> None:
    placement = Placement(nodes=2, ranks_per_node=8, accelerator="h200", memory=5, labels={"rack": "r1"})
    needs = gangs.needs(placement, 2, frozenset("ab"), ("b", "a"))
    assert (needs.nodes, needs.per_node, needs.ranks, needs.whole) == (2, 8, 16, True)
    assert (needs.accelerator, needs.memory, needs.labels) == ("h200", 5, (("rack", "r1"),))
    assert (needs.among, needs.holders) == ({"a", "b"}, ("b", "a"))


def test_a_run_s_pace_tells_when_it_saves_and_ends() -> None:
    pace = gangs.progressed(None, 10, 100.0)
    assert gangs.expectations(pace, 10, 100, 100.0) == (math.inf, 700.0), "one sign of life is no pace"
    pace = gangs.progressed(pace, 15, 110.0)
    assert gangs.expectations(pace, 10, 100, 110.0) == (280.0, 120.0)
    assert gangs.expectations(pace, 100, 100, 110.0) == (280.0, 710.0), "at the last step it ends, and saves nothing"
    assert gangs.expectations(None, 10, 100, 5.0) == (math.inf, 605.0)
    assert gangs.progressed(pace, 5, 200.0) == gangs.Pace((5, 200.0), (5, 200.0)), "it was set back"


def test_a_cluster_s_agent_is_a_pool_of_machines_up_to_a_bound() -> None:
    machines = gangs.nodes("dgx", training_pb2.Inventory(machines=3, cores=2), busy=False)
    assert gangs.agents(machine.name for machine in machines) == ("dgx",)
    assert {machine.pool for machine in machines} == {"dgx"}
    assert len(gangs.nodes("dgx", training_pb2.Inventory(machines=2**31 - 1), busy=True)) == gangs.MOST_MACHINES


def test_a_cluster_s_place_is_its_agent_s() -> None:
    machines = gangs.nodes("dgx", training_pb2.Inventory(machines=1, labels={"jurisdiction": "US"}), busy=False)
    _, why = gangs.admitted(machines, [Terms("data-1", "controlled", ("EU",), "law-institute")])
    assert why == "data-1 is controlled and may be in EU alone, not at the node dgx (in US)"
