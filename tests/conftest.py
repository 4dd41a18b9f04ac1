"""Properties are checked however slow the machine is: a busy processor is no failure. And suites are evaluated where the
machine gives no namespaces, by the setting that an operator has for it."""

from __future__ import annotations

import os
import shutil
import subprocess

from hypothesis import settings

os.environ.pop("COLUMNS", None)  # which readline, in the process that starts the others, leaves to them

settings.register_profile("coalition", deadline=None)
settings.load_profile("coalition")


def _namespaces() -> bool:
    trial = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return shutil.which("bwrap") is not None and subprocess.run(trial, capture_output=True, check=False).returncode == 0


if not _namespaces():
    os.environ.setdefault("COALITION_SANDBOX", "namespaces|landlock,network|seccomp,seccomp,limits")
