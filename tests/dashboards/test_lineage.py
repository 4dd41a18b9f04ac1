import pytest

from dashboards.rows import lineage
from protos.coalition.v1.common_pb2 import File
from protos.coalition.v1.models_pb2 import Lineage, LineageData, LineageMember, Model


def tree(rounds: int = 2, datasets: int = 2) -> Lineage:
    chain = [Model(id="tiny-1", origin="run", source="run-1")]
    for number in range(1, rounds + 1):
        chain.append(Model(id=f"tiny-1.{number}", parent=chain[-1].id, origin="round", round=number))
    return Lineage(
        models=list(reversed(chain)),
        data=[
            LineageData(dataset=f"data-{number}", name=f"set {number}", member=f"m{number}", tokens=100 * (number + 1))
            for number in range(datasets)
        ],
        members=[
            LineageMember(model=model.id, member=member, examples=10, weight=weight)
            for model in chain[1:]
            for member, weight in (("b", 0.0), ("a", 1.0))
        ],
    )


def test_parts_of_the_data_add_up() -> None:
    rows = lineage.data_rows(tree(datasets=3))
    assert [row["dataset"] for row in rows] == ["set 2", "set 1", "set 0"]
    assert sum(row["part"] for row in rows) == pytest.approx(100)


def test_no_data_is_no_division_by_zero() -> None:
    assert lineage.data_rows(Lineage(data=[LineageData(name="empty")]))[0]["part"] == 0


def test_rounds_come_in_order() -> None:
    rows = lineage.round_rows(tree(rounds=10))
    assert [row["model"] for row in rows][::2] == [f"tiny-1.{number}" for number in range(1, 11)]
    assert [row["member"] for row in rows][:2] == ["a", "b"]


def test_drawing_joins_data_base_and_rounds() -> None:
    dot = lineage.drawing(tree(), "#000000", "#ffffff", "#0000ff")
    for edge in ('"data:data-0" -> "tiny-1"', '"tiny-1" -> "tiny-1.1"', '"tiny-1.1" -> "tiny-1.2"'):
        assert edge in dot
    assert "round 1, 1 members" in dot, "a member whose update was left out is not counted"


def test_private_data_is_listed_and_not_drawn_into_the_base() -> None:
    found = tree()
    found.data.add(dataset="data-p", name="letters", member="a", tokens=7, category="private")
    assert "letters" in {row["dataset"] for row in lineage.data_rows(found)}
    assert "letters" not in lineage.drawing(found, "#000000", "#ffffff", "#0000ff")


def test_a_long_lineage_is_drawn_short() -> None:
    dot = lineage.drawing(tree(rounds=50, datasets=50), "#000000", "#ffffff", "#0000ff")
    assert "50 datasets" in dot
    assert dot.count("round ") <= lineage.MAX_DRAWN
    assert '"tiny-1.50"' in dot
    assert "dashed" in dot


def test_names_cannot_break_out_of_the_drawing() -> None:
    hostile = Lineage(models=[Model(id="m", origin="run")], data=[LineageData(dataset="d", name='x"]; evil [label="')])
    dot = lineage.drawing(hostile, "#000000", "#ffffff", "#0000ff")
    assert 'x\\"]; evil [label=\\"' in dot


def test_a_drawing_of_nothing_is_still_a_graph() -> None:
    assert lineage.drawing(Lineage(), "#000000", "#ffffff", "#0000ff").endswith("}")


def test_models_are_listed_newest_first() -> None:
    models = [Model(id=name, origin="run", files=[File(size=10)]) for name in ("tiny-2", "tiny-10", "tiny-1.3")]
    assert lineage.newest_first(models) == ["tiny-10", "tiny-2", "tiny-1.3"]
    assert next(row["model"] for row in lineage.model_rows(models)) == "models?model=tiny-10"
