import math

import pytest

from dashboards.rows import scores
from protos.coalition.v1.evaluation_pb2 import Evaluation, Leaderboard, LeaderboardColumn, LeaderboardRow, Score

ACC = "terms/definitions"
BITS = "terms/text"


def row(model: str, parent: str, acc: float | None, bits: float | None, error: float = 0.01) -> LeaderboardRow:
    made = LeaderboardRow(model=model, parent=parent, origin="round" if parent else "run")
    if acc is not None:
        made.scores[ACC].CopyFrom(Score(metric="acc", value=acc, standard_error=error, items=100))
    if bits is not None:
        made.scores[BITS].CopyFrom(Score(metric="bits_per_byte", value=bits, standard_error=error, items=50))
    return made


@pytest.fixture
def board() -> Leaderboard:
    return Leaderboard(
        columns=[
            LeaderboardColumn(
                key=BITS,
                suite="s1",
                domain="medicine",
                metric="bits_per_byte",
                higher_is_better=False,
                baseline=math.nan,
            ),
            LeaderboardColumn(key=ACC, suite="s1", domain="law", metric="acc", higher_is_better=True, baseline=0.25),
        ],
        rows=[
            row("tiny-1.10", "tiny-1.9", 0.40, 2.0),
            row("tiny-1.9", "tiny-1", 0.35, 2.2),
            row("tiny-2", "", 0.20, None),
            row("tiny-1", "", 0.30, 2.5),
        ],
    )


def test_a_family_is_a_base_and_all_made_from_it_in_order(board: Leaderboard) -> None:
    found = {base: [member.model for member in members] for base, members in scores.families(board).items()}
    assert found == {"tiny-1": ["tiny-1", "tiny-1.9", "tiny-1.10"], "tiny-2": ["tiny-2"]}
    assert list(found) == ["tiny-1", "tiny-2"]


def test_a_loop_of_parents_ends() -> None:
    looped = Leaderboard(rows=[row("a-1", "b-1", 0.1, None), row("b-1", "a-1", 0.1, None)])
    assert sum(len(members) for members in scores.families(looped).values()) == 2


def test_columns_by_domain(board: Leaderboard) -> None:
    assert scores.domains(board) == ["law", "medicine"]
    assert [column.key for column in scores.columns_of(board, "law")] == [ACC]
    assert [column.key for column in scores.columns_of(board, None)] == [ACC, BITS]


def test_progress_from_base_to_newest(board: Leaderboard) -> None:
    family = scores.families(board)["tiny-1"]
    bits = next(step for step in scores.progress(board.columns, family) if step.key == BITS)
    assert (bits.base_model, bits.last_model) == ("tiny-1", "tiny-1.10")
    assert bits.trend == (2.5, 2.2, 2.0)
    assert bits.change == pytest.approx(-0.5)
    assert bits.gain == pytest.approx(0.5), "fewer bits are better"
    assert bits.chance is None
    assert scores.verdict(bits) == "better"


def test_a_change_within_the_errors_is_slight(board: Leaderboard) -> None:
    family = [row("m-1", "", 0.30, 2.5, error=0.1), row("m-1.1", "m-1", 0.35, 2.4, error=0.1)]
    assert {scores.verdict(step) for step in scores.progress(board.columns, family)} == {"slightly better"}


def test_a_loss_is_called_worse(board: Leaderboard) -> None:
    family = [row("m-1", "", 0.30, 2.0), row("m-1.1", "m-1", 0.20, 2.5)]
    assert {scores.verdict(step) for step in scores.progress(board.columns, family)} == {"worse"}


def test_no_change_is_called_same(board: Leaderboard) -> None:
    family = [row("m-1", "", 0.30, 2.0), row("m-1.1", "m-1", 0.3000001, 2.0)]
    assert {scores.verdict(step) for step in scores.progress(board.columns, family)} == {"same"}


def test_a_base_alone_has_no_change(board: Leaderboard) -> None:
    (only,) = scores.progress_rows(scores.progress(board.columns, scores.families(board)["tiny-2"]))
    assert only["task"] == ACC
    assert only["change"] is None
    assert only["verdict"] == ""
    assert only["guessing"] == 0.25


def test_matrix_marks_the_best_in_its_direction(board: Leaderboard) -> None:
    by_model = {found["model"].partition("=")[2]: found for found in scores.matrix(board.columns, board.rows)}
    assert by_model["tiny-1.10"][ACC] == "0.400 ± 0.010 ★"
    assert by_model["tiny-1.10"][BITS] == "2.000 ± 0.010 ★"
    assert by_model["tiny-1"][BITS] == "2.500 ± 0.010"
    assert by_model["tiny-2"][BITS] is None
    assert by_model["tiny-2"]["origin"] == "base run"


def test_one_value_alone_is_not_called_best(board: Leaderboard) -> None:
    (only,) = scores.matrix(board.columns, [row("m-1", "", 0.3, 2.0)])
    assert "★" not in only[ACC]


def test_intervals_hold_the_score_in_their_middle(board: Leaderboard) -> None:
    points = scores.intervals(ACC, scores.families(board)["tiny-1"])
    assert [point["model"] for point in points] == ["tiny-1", "tiny-1.9", "tiny-1.10"]
    for point in points:
        assert (point["low"] + point["high"]) / 2 == pytest.approx(point["score"])
        assert point["high"] - point["low"] == pytest.approx(2 * 1.96 * 0.01)


def test_scores_of_a_model_name_failures_and_waiting() -> None:
    done = Evaluation(
        id="eval-1", suite_name="b", state="finished", scores=[Score(task="t", metric="acc", value=0.5, baseline=0.25)]
    )
    failed = Evaluation(id="eval-2", suite_name="a", state="failed", reason="out of time")
    rows = scores.scores_of_model([done, failed])
    assert [found["task"] for found in rows] == ["a", "b/t"]
    assert rows[0]["note"] == "out of time"
    assert rows[1]["score"].startswith("0.500")
