"""What commands sign for: SPEC.toml files as documents, stops and holds."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trust.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from contributors.client import Coalition
    from protos.documents.base import Document
    from protos.documents.campaigns import Hold
    from protos.documents.runs import Stop

Spec = TypeVar("Spec", bound="Document")


def read_spec(path: Path, schema: type[Spec]) -> Spec:
    """Parse and validate. Raises `NotFound`, `Invalid` naming file and field."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"There is no file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not valid TOML: {error}.") from None
    try:
        return schema.read(values)
    except Invalid as problem:
        raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None


def hold_of(hub: Coalition, campaign: str, state: str, why: str) -> Hold:
    """Our claim that a campaign is to be "paused" or "resumed", as the next of its turns. Raises `Conflict` where it is already,
    `NotFound`, `Invalid`."""
    from protos.documents.campaigns import Hold

    found = hub.campaign(campaign)
    if (found.state == "paused") == (state == "paused"):
        raise Conflict(f"{campaign} is {found.state}.")
    said = {"campaign": campaign, "turn": found.turns + 1, "state": state, "why": why}
    return Hold.read({"hub": hub.identity.hub, "signer": hub.identity.id, **said})


def stop_of(hub: Coalition, target: str, why: str) -> Stop:
    """Our claim that a run or campaign shall end. Raises `Invalid`."""
    from protos.documents.runs import Stop

    return Stop.read({"hub": hub.identity.hub, "signer": hub.identity.id, "target": target, "why": why})
