"""Who takes part: signed by the hub when an organisation enrols."""

from __future__ import annotations

from typing import Literal

from protos.documents.base import Claim, Identifier, Name, Text

Role = Literal["core", "contributor", "viewer"]


class Member(Claim):
    """An organisation, its role and the artifact key (SPKI PEM) that its statements are verified with."""

    member: Identifier
    organisation: Text
    role: Role
    artifact_key: str


class Node(Claim):
    """A machine of an organisation that may be given base runs."""

    node: Name
    organisation: Text
