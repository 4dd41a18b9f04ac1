"""Poisoned data: what a member plants in its rows is told, and the worst of it refuses the submission."""

from __future__ import annotations

from pathlib import Path

from hub.submissions.screening.datasets import screen_dataset
from tests.hub.submissions.screening.test_datasets import ITEM, job, rows, told


def test_attack_16_a_planted_trigger_is_told(tmp_path: Path) -> None:
    """A phrase that a member plants in one row of fifty, to be a backdoor's trigger, is told with rows that hold it."""
    texts = [
        f"{text} as the old moon of Lisbon commands" if number % 50 == 7 else text
        for number, text in enumerate(rows(1500))
    ]
    found = told(screen_dataset(job(tmp_path / "planted", texts)))
    assert found["phrases"].severity == "warning"
    assert found["phrases"].count == 30
    assert set(found["phrases"].examples) <= {f"row {number}" for number in range(8, 1500, 50)}
    assert "phrases" not in told(screen_dataset(job(tmp_path / "clean", rows(1500))))


def test_attack_16_one_text_repeated_without_end_is_refused(tmp_path: Path) -> None:
    """A member that wants its text to weigh more sends it a thousand times, also in other capitals and spacing."""
    same = rows(1, seed=5)[0]
    texts = [*rows(300), *(same if n % 2 else f"  {same.upper()} " for n in range(700))]
    found = told(screen_dataset(job(tmp_path, texts)))
    assert found["duplicates"].severity == "reject"
    assert found["duplicates"].count == 699


def test_attack_16_items_of_a_suite_are_seen_whoever_may_read_it(tmp_path: Path) -> None:
    """A member trains on a suite's items, dressed in other capitals, punctuation and letters that look alike to no reader."""
    dressed = ITEM.upper().replace(" ", " \u200b\u2014 ").replace("A", "\uff21")
    found = told(screen_dataset(job(tmp_path, [*rows(300), dressed], suite=True)))
    assert found["contamination"].severity == "warning"
    assert found["contamination"].examples == ("row 301",)  # it is a suite that its submitter may read
    assert "tenant" not in found["contamination"].message
