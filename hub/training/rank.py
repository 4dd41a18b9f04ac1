"""What torchrun starts on a node: ties the process to torchrun's life, then becomes the worker.

In this order, because importing torch and DeepSpeed takes many seconds, and torchrun puts its workers into sessions of
their own: a worker whose torchrun is killed while it still imports would go on without anybody.

Where a process waits that has imported all that already (`hub.training.warm`), that one becomes the worker.

Of several ranks that share a folder the first speaks for all: the others get folders of their own for what they say.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from hub.guard import die_with_parent
from hub.training.warm import FOLDER, hand_over

INIT = 1  # adopts the children of a process that died


def own_job(job: Path, environment: Mapping[str, str]) -> Path:
    """The job of the rank that torchrun's environment tells of: as it is for the first of those who share it."""
    content = json.loads(job.read_text())
    shared = content.pop("shared", False)  # by all nodes, not by one node's ranks alone
    if shared:
        content["checkpoints"] += f"/node-{environment['GROUP_RANK']}"
    if environment["RANK" if shared else "LOCAL_RANK"] != "0":
        content["folder"] += f"/rank-{environment['RANK']}"
    elif not shared:
        return job
    folder = Path(content["folder"])
    folder.mkdir(exist_ok=True)
    own = folder / "own.json"
    own.write_text(json.dumps(content))
    shutil.copystat(job, own)  # that is when the ranks were ordered
    return own


if __name__ == "__main__":
    die_with_parent()
    if os.getppid() == INIT:
        sys.exit("torchrun is gone already")
    job = str(own_job(Path(sys.argv[-1]), os.environ))
    if (folder := os.environ.get(FOLDER)) and (
        code := hand_over(Path(folder) / os.environ["LOCAL_RANK"], job)
    ) is not None:
        sys.exit(code)
    from hub.training.worker import main

    main(job)
