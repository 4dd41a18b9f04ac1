"""Which code made a model: the package's version and a digest of its sources."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from protos.transport.version import installed

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("trust", "protos", "learning", "hub", "contributors")


@cache
def code_version() -> str:
    """For example `0.1.0+3f2a91c04b7d`: twelve digits over every Python file's path and bytes, in order."""
    digest = sha256()
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{installed()}+{digest.hexdigest()[:12]}"
