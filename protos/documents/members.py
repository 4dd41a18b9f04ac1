"""Who takes part, and which keys speak for whom: introduced by the hub, changed by the members themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from protos.documents.base import Claim, Identifier, Moment, Name, Text
from trust.errors import Invalid
from trust.keys import ArtifactPublicKey

Role = Literal["core", "contributor", "viewer"]
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MAX_KEYS = 4
MAX_BUDGET = 10_000


def _public_key(pem: str) -> str:
    try:
        ArtifactPublicKey.from_pem(pem.encode())
    except Invalid as problem:
        raise ValueError(problem.what) from None
    return pem


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("names the same twice")
    return values


PublicKey = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_public_key)]
"""A P-256 key as SPKI PEM in its one usual spelling."""


class Member(Claim):
    """An organisation, its role and the artifact key that its statements are verified with: version 1 of its keys."""

    member: Identifier
    organisation: Text
    role: Role
    artifact_key: PublicKey


class Node(Claim):
    """A machine of an organisation that may be given base runs."""

    node: Name
    organisation: Text


class Keys(Claim):
    """All keys that speak for the signer from this entry on: the version follows the last, and old and new keys sign."""

    version: int = Field(ge=2)
    keys: Annotated[tuple[PublicKey, ...], Field(min_length=1, max_length=MAX_KEYS), AfterValidator(_distinct)]


class Revocation(Claim):
    """A key of `member` (all of them, for none) is not to be believed from entry `compromised_since` of the ledger on.

    With it goes what may be a thief's: every key and delegation recorded from that entry on, and every certificate of before
    the revocation. `keeps` are the keys, of statements and of TLS, that are the owner's own and stay.
    """

    member: Identifier
    key: KeyId | None = None
    compromised_since: int = Field(ge=0)
    reason: Text
    keeps: Annotated[tuple[KeyId, ...], Field(max_length=MAX_KEYS + 1), AfterValidator(_distinct)] = ()

    @model_validator(mode="after")
    def _keeps_nothing_revoked(self) -> Revocation:
        if self.keeps and self.key in (None, *self.keeps):
            raise ValueError("keeps what it revokes")
        return self


class NodeRevocation(Claim):
    """The node is none any more: its certificates of before count for nothing. It may be introduced again."""

    node: Name
    reason: Text


class Delegation(Claim):
    """A key that speaks in the signer's name within bounds: kinds of statement, how many, until when.

    `sealed` is no statement: it lets the key read the signer's sealed suites and their per-item logs.
    """

    name: Name
    key: PublicKey
    kinds: Annotated[
        tuple[Literal["dataset", "suite", "run", "stop", "campaign", "consent", "hold", "sealed"], ...],
        Field(min_length=1, max_length=7),
        AfterValidator(_distinct),
    ]
    budget: int = Field(ge=1, le=MAX_BUDGET)
    expires_at: Moment
