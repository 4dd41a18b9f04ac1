"""Runs and nodes as the values that placement is decided from."""

from __future__ import annotations

import math

from hub.training import gangs
from hub.training.placement.values import Node
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
