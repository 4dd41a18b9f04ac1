"""Properties are checked however slow the machine is: a busy processor is no failure. And suites are evaluated where the
machine gives no namespaces, by the setting that an operator has for it. What takes long starts first."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import settings

os.environ.pop("COLUMNS", None)  # which readline, in the process that starts the others, leaves to them

settings.register_profile("coalition", deadline=None)
settings.load_profile("coalition")


def _namespaces() -> bool:
    trial = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return shutil.which("bwrap") is not None and subprocess.run(trial, capture_output=True, check=False).returncode == 0


if not _namespaces():
    os.environ.setdefault("COALITION_SANDBOX", "namespaces|landlock,network|seccomp,seccomp,limits")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests that take long come before the others: while the last file runs, the other processors have nothing."""
    long = {item.path for item in items if item.get_closest_marker("system") or item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
