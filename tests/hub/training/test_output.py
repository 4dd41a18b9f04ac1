"""What processes write reaches those who follow a run: in order, in part as it comes, and never more than they can read."""

from __future__ import annotations

from pathlib import Path

from hub.training.output import AT_ONCE, LONGEST, WAITING, WINDOW, Output


def test_lines_are_told_when_they_are_whole_a_few_at_a_time_and_all_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    output = Output(log)
    assert output.lines(ended=False) == []
    log.write_bytes(b"one\n\n  \ntwo\rthree\nfour")
    assert output.lines(ended=False) == ["one", "two"]
    assert output.lines(ended=False) == ["three"]
    with log.open("ab") as file:
        file.write(b" and a half\nfive\nsix\nseven")
    assert output.lines(ended=False) == ["four and a half", "five"]
    assert output.lines(ended=True) == ["six", "seven"]
    assert output.lines(ended=True) == []


def test_what_looks_like_a_secret_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"token coalition-{'a' * 600} found\n")
    assert Output(tmp_path / "log").lines(ended=True) == ["token (redacted) found"]


def test_whatever_is_written_it_is_bounded_and_says_what_was_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n" * WINDOW + b"\xff" * (2 * LONGEST) + b"\n")
    output = Output(log)
    told = output.lines(ended=False)
    assert len(told) == AT_ONCE
    assert told[0].endswith("lines are left out)")
    rest = output.lines(ended=True)
    assert len(told) + len(rest) == WAITING + 1
    assert rest[-1] == "\ufffd" * LONGEST
    log.write_bytes(log.read_bytes() + b"x" * 3 * WINDOW)
    told = output.lines(ended=False)
    assert told == [f"({2 * WINDOW:,} bytes are left out)", "x" * LONGEST]
