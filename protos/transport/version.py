"""Which release of the project is installed here. A hub and its sites are to run one and the same."""

from __future__ import annotations

from importlib import metadata


def installed() -> str:
    """For example `0.1.0`; `0` for sources that were never installed."""
    try:
        return metadata.version("coalition")
    except metadata.PackageNotFoundError:
        return "0"


def differing(hub: str, here: str) -> str:
    """What a site of release `here` says of a hub of another; empty where they are one, or the hub is too old to say."""
    if not hub or hub == here:
        return ""
    both = f"This site runs coalition {here} and the hub {hub}"
    return f"{both}: it refuses every task that it cannot read until {hub} is installed here."
