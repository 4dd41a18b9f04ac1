from dashboards.rows import ranking
from protos.coalition.v1.evaluation_pb2 import LeftOut, RankedModel, Ranking

FOUND = Ranking(
    models=[
        RankedModel(model="tiny-1.2", value=0.41, low=0.35, high=0.47, first=1, last=1),
        RankedModel(model="tiny-1.1", value=0.3, low=0.25, high=0.35, first=2, last=3),
    ],
    left_out=[LeftOut(what="law-exam", why="Its per-item logs are its owner's alone.")],
)


def test_models_that_cannot_be_told_apart_are_shown_with_all_ranks_they_may_have() -> None:
    assert [row["rank"] for row in ranking.ranked(FOUND)] == ["1", "2-3"]
    assert ranking.ranked(FOUND)[1]["interval"] == "0.250 to 0.350"
    assert [point["model"] for point in ranking.points(FOUND)] == ["1  tiny-1.2", "2-3  tiny-1.1"]


def test_what_is_left_out_is_said_with_its_reason() -> None:
    assert ranking.left_out(FOUND) == "law-exam: Its per-item logs are its owner's alone."
    assert ranking.left_out(Ranking()) == ""
