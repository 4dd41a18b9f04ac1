"""Bounds where cgroups can be made, and nothing left of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hub.evaluation.sandbox import cgroups
from hub.evaluation.sandbox.cgroups import Cgroups


def test_what_a_process_left_is_swept_when_the_next_one_starts() -> None:
    """A cgroup cannot be removed while its last process is still ending."""
    left = Cgroups(1 << 30)
    if not left.folders:
        pytest.skip("this process may make no cgroups")
    with subprocess.Popen(["sleep", "60"]) as busy:
        for folder in left.folders:
            (folder / "cgroup.procs").write_text(str(busy.pid))
        assert left.hold()
        folders = left.folders
        left.remove()
        assert all(folder.is_dir() for folder in folders)
        busy.kill()
    again = Cgroups(1 << 30)
    assert not any(folder.is_dir() for folder in folders)
    again.remove()
    assert not any(folder.is_dir() for folder in again.folders)


def test_where_none_can_be_made_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "nothing")
    assert not Cgroups(1 << 30).hold()
    assert os.listdir(tmp_path) == []
