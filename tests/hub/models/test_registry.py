"""Names of model versions, and what is read back of them."""

from __future__ import annotations

import pytest

from hub.models import registry
from tests.hub.conftest import Base
from tests.hub.models.conftest import contribution, record_dataset, record_model
from trust.errors import Conflict, NotFound


def test_names_count_up_and_keep_to_their_own_run(base: Base) -> None:
    with base.database.session() as session:
        assert registry.next_base_id(session, "tiny") == "tiny-1"
    for name, parent in [("tiny-1", None), ("tiny-1.1", "tiny-1"), ("tiny-2", None), ("tiny-2-1", None)]:
        record_model(base, name, parent=parent)
    with base.database.session() as session:
        assert registry.next_base_id(session, "tiny") == "tiny-3"
        assert registry.next_base_id(session, "tiny-2") == "tiny-2-2"
        assert registry.next_round_id(session, "tiny-1") == "tiny-1.2"
        assert registry.next_round_id(session, "tiny-1.1") == "tiny-1.2"
        assert registry.next_round_id(session, "tiny-2") == "tiny-2.1"


def test_lineage_leads_to_the_base(base: Base) -> None:
    for name, parent in [("tiny-1", None), ("tiny-1.1", "tiny-1"), ("tiny-1.2", "tiny-1.1")]:
        record_model(base, name, parent=parent)
    with base.database.session() as session:
        assert [row.id for row in registry.lineage(session, "tiny-1.2")] == ["tiny-1.2", "tiny-1.1", "tiny-1"]
        with pytest.raises(NotFound, match="tiny-9"):
            registry.lineage(session, "tiny-9")


def test_a_model_version_is_one_and_its_parent_is_known(base: Base) -> None:
    record_model(base, "tiny-1")
    with pytest.raises(Conflict, match="tiny-1"):
        record_model(base, "tiny-1")
    with pytest.raises(NotFound, match="tiny-7"):
        record_model(base, "tiny-8.1", parent="tiny-7")


def test_what_a_model_is_made_of_reads_back(base: Base) -> None:
    base.enrol("law-institute")
    used = record_dataset(base, "law-institute", "contracts")
    record_model(base, "tiny-1", data=[used])
    record_model(base, "tiny-1.1", parent="tiny-1", contributions=[contribution("law-institute")])
    with base.database.session() as session:
        assert registry.data_used(registry.get(session, "tiny-1")) == [used]
        assert registry.contributions(registry.get(session, "tiny-1.1")) == [contribution("law-institute")]
        assert {file.path for file in registry.files(registry.get(session, "tiny-1"))} >= {"config.json"}
        assert [row.id for row in registry.from_source(session, "run-1")] == ["tiny-1"]


def test_only_updates_that_counted_are_tallied(base: Base) -> None:
    record_model(base, "tiny-1")
    parts = [contribution("law-institute"), contribution("poison", excluded="too large")]
    record_model(base, "tiny-1.1", parent="tiny-1", contributions=parts)
    with base.database.session() as session:
        assert registry.tally(session) == {"law-institute": {"rounds": 1}}
