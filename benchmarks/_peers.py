"""Peers' packages, each in an environment of its own below a folder outside this repository (`--peers FOLDER --install`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def install(folder: Path, name: str, *packages: str) -> None:
    """Make the environment of one peer; says so where it cannot be made."""
    wheels = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True, check=False
    ).stdout.split()
    uv, found = str(Path(sys.executable).with_name("uv")), [word for path in wheels for word in ("--find-links", path)]
    home = folder / name
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(home)], check=True)
    command = [uv, "pip", "install", "--quiet", "--python", str(home / "bin" / "python"), *found, *packages]
    if subprocess.run(command, check=False).returncode:
        print(f"{name} could not be installed.")


def python_of(folder: Path | None, name: str) -> Path | None:
    """The peer's interpreter; None, said on the way, where it is not there."""
    python = folder / name / "bin" / "python" if folder else None
    if python and python.exists():
        return python
    print(f"{name} is left out: {python or 'no --peers folder'} is not there (--peers FOLDER --install makes it).")
    return None
