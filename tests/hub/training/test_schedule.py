"""Gangs: all of the nodes or none, all of one kind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.training.schedule import Offer, admitted, gang
from protos.coalition.v1 import training_pb2
from protos.documents.placing import Terms

GPU = ("H200",)
OFFERS = st.lists(
    st.builds(
        Offer,
        st.sampled_from("abcdef"),
        st.sampled_from([(), GPU, ("H200", "H200"), ("A100",)]),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2]),
    ),
    unique_by=lambda offer: offer.name,
)


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    assert gang(2, [Offer("a")]) == ()
    assert gang(2, [Offer("c"), Offer("b"), Offer("a")]) == ("a", "b")


def test_nodes_with_and_without_accelerators_do_not_mix_and_the_faster_are_taken() -> None:
    assert gang(2, [Offer("a"), Offer("b", GPU), Offer("c")]) == ("a", "c")
    assert gang(2, [Offer("a"), Offer("b", GPU), Offer("c"), Offer("d", GPU)]) == ("b", "d")


def test_more_memory_comes_first() -> None:
    assert gang(1, [Offer("a", memory=1), Offer("b", memory=2)]) == ("b",)


def test_the_holders_of_the_shards_are_taken_again_in_the_order_of_their_ranks() -> None:
    offers = [Offer("a"), Offer("b"), Offer("c")]
    assert gang(2, offers, holders=("c", "b")) == ("c", "b")
    assert gang(2, offers[:2], holders=("c", "b")) == ("a", "b")


def test_an_offer_is_what_the_inventory_says() -> None:
    inventory = training_pb2.Inventory(cores=4, memory=8, accelerators=[training_pb2.Accelerator(kind="H200")])
    assert Offer.of("a", inventory) == Offer("a", GPU, memory=8, cores=4)


@given(OFFERS, st.integers(1, 4))
def test_a_gang_is_full_free_alike_and_found_when_there_is_one(offers: list[Offer], count: int) -> None:
    nodes = gang(count, offers)
    kinds = {offer.name: offer.accelerators for offer in offers}
    assert len(set(nodes)) == len(nodes)
    assert len({kinds[name] for name in nodes}) <= 1
    possible = any(sum(kind == other for other in kinds.values()) >= count for kind in kinds.values())
    assert len(nodes) == (count if possible else 0)


def test_a_node_says_its_country_by_a_label() -> None:
    inventory = training_pb2.Inventory(labels={"jurisdiction": "NL"})
    assert Offer.of("a", inventory).country == "NL"


def test_data_is_placed_where_every_one_of_its_owners_lets_it_be() -> None:
    offers = [Offer("a", country="NL"), Offer("b", country="US"), Offer("c")]
    european = Terms("data-1", "controlled", ("EU",), "law-institute")
    anywhere = Terms("data-2", "open", ("world",), "university")
    fitting, why = admitted(offers, [anywhere, european])
    assert [offer.name for offer in fitting] == ["a"]
    assert why == "data-1 is controlled and may be in EU alone, not at the node b (in US)"
    assert admitted(offers, [anywhere]) == (offers, "")


def test_open_data_too_is_placed_within_the_jurisdiction_that_it_names() -> None:
    offers = [Offer("a", country="NL"), Offer("b", country="US"), Offer("c")]
    fitting, why = admitted(offers, [Terms("data-1", "open", ("US",), "university")])
    assert [offer.name for offer in fitting] == ["b"]
    assert why == "data-1 is open and may be in US alone, not at the node a (in NL)"
