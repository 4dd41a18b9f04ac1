"""Telling the story again: an earlier telling is replaced, anything else is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contributors.demo.story import MARKER, _fresh
from trust.errors import Conflict


def test_an_earlier_demonstration_is_replaced(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    _fresh(directory)
    (directory / "hub").mkdir()
    (directory / MARKER).write_text("4194304")
    _fresh(directory)
    assert [path.name for path in directory.iterdir()] == [MARKER]


def test_a_directory_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Conflict, match="not an earlier"):
        _fresh(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_one_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    _fresh(directory)
    code = "import sys; print(flush=True); sys.stdin.read()  # contributors.demo.story"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()  # it runs by now
        (directory / MARKER).write_text(str(other.pid))
        with pytest.raises(Conflict, match="still runs"):
            _fresh(directory)
        other.kill()
