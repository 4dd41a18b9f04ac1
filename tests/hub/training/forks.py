"""Ranks as forks of a process that has imported torch, DeepSpeed and transformers: those take longer than a tiny run.

On a processor that may be; what torchrun and the agent do to start one is shown where these start them.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

from hub.training.launch import worker_environment

_FORKS = multiprocessing.get_context("forkserver")


def start(job: Path, rank: int, world: int, port: int, limit: int | None = None) -> BaseProcess:
    """A rank alone on its node, in a session of its own, its log beside the job; it may be limited to files of so many bytes."""
    environment = worker_environment(1, True)
    with patch.dict(os.environ, environment, clear=True):
        _FORKS.set_forkserver_preload(["hub.training.worker"])
        forkserver.ensure_running()
    place = {"RANK": rank, "GROUP_RANK": rank, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "WORLD_SIZE": world}
    environment |= {name: str(value) for name, value in place.items()}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    process = _FORKS.Process(target=_work, args=(job, environment, limit), daemon=True)
    process.start()
    return process


def _work(job: Path, environment: dict[str, str], limit: int | None) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    log = os.open(job.with_name("log"), os.O_WRONLY | os.O_CREAT)
    for output in (1, 2):
        os.dup2(log, output)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from hub.training.worker import main

    main(str(job))
