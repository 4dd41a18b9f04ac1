"""Ranks that share a node's folder, or a cluster's: who keeps what where."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hub.training.rank import own_job

ORDERED = 1_000_000_000.0  # seconds of the epoch


def told(tmp_path: Path, shared: bool, rank: int, node: int, local: int) -> dict[str, str]:
    job = tmp_path / "job.json"
    (tmp_path / "attempt").mkdir(exist_ok=True)
    content = {"folder": str(tmp_path / "attempt"), "checkpoints": "/c", "resume_step": 0}
    job.write_text(json.dumps({**content, "shared": True} if shared else content))
    os.utime(job, (ORDERED, ORDERED))
    environment = {"RANK": str(rank), "GROUP_RANK": str(node), "LOCAL_RANK": str(local)}
    own = own_job(job, environment)
    assert own.stat().st_mtime == ORDERED
    return dict(json.loads(own.read_text()))


@pytest.mark.parametrize(
    ("shared", "rank", "node", "local", "folder", "checkpoints"),
    [
        (False, 0, 0, 0, "attempt", "/c"),
        (False, 2, 1, 0, "attempt", "/c"),  # on another node's disk
        (False, 3, 1, 1, "attempt/rank-3", "/c"),
        (True, 0, 0, 0, "attempt", "/c/node-0"),
        (True, 2, 1, 0, "attempt/rank-2", "/c/node-1"),
    ],
)
def test_the_first_of_those_who_share_a_folder_speaks_there(
    tmp_path: Path, shared: bool, rank: int, node: int, local: int, folder: str, checkpoints: str
) -> None:
    job = told(tmp_path, shared, rank, node, local)
    assert job == {"folder": str(tmp_path / folder), "checkpoints": checkpoints, "resume_step": 0}
    assert Path(job["folder"]).is_dir()
