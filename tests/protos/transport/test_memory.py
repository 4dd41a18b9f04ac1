"""Processes that pass models on use the memory of one for the next."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from contributors.site import children as site
from hub.rounds import children as hub
from protos.transport.memory import settle

COPIES = """
import resource
for _ in range(20):
    copies = [bytearray(10_000_000) for _ in range(5)]
    del copies
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
PAGES = 20 * 50_000_000 // os.sysconf("SC_PAGE_SIZE")


def faults(environment: Mapping[str, str]) -> int:
    """How often the system gave a page to a process that makes and frees 50 MB, twenty times."""
    told = subprocess.run([sys.executable, "-c", COPIES], env=environment, capture_output=True, check=True)
    return int(told.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other settings")
def test_a_freed_model_makes_room_for_the_next(tmp_path: Path) -> None:
    for environment in (site.environment(tmp_path), hub.environment(tmp_path)):
        assert faults(environment) < PAGES / 4


def test_what_is_loaded_is_looked_through_no_more_and_garbage_of_before_is_gone() -> None:
    class Ring:
        def __init__(self) -> None:
            self.own = self

    Ring()
    try:
        settle()
        assert gc.get_freeze_count() > 1000
        assert not any(isinstance(each, Ring) for each in gc.get_objects())
        kept = gc.get_freeze_count()
        Ring()
        gc.collect()
        assert gc.get_freeze_count() == kept
    finally:
        gc.unfreeze()
    assert not any(isinstance(each, Ring) for each in gc.get_objects())


GIVEN_BACK = """
from protos.transport.memory import give_back
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
before, among = held(), []
parts = []
for _ in range(100):
    parts.append(bytearray(1_000_000))
    among.append(bytearray(1_000))
circle = [parts]
circle.append(circle)
del parts, circle
give_back(1 << 30)
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other settings")
def test_what_is_given_back_does_not_stay_for_what_lies_between(tmp_path: Path) -> None:
    run = [sys.executable, "-c", GIVEN_BACK]
    told = subprocess.run(run, env=hub.environment(tmp_path), capture_output=True, check=True)
    assert int(told.stdout) < 20_000  # KiB, of 100 MB
