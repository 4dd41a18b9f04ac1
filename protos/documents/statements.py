"""From a document to a signed statement and back: the one table of kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protos.documents.base import Claim
from protos.documents.campaigns import Campaign, CampaignEnd, Consent, Hold
from protos.documents.evaluations import Evaluation
from protos.documents.members import Delegation, Keys, Member, Node, NodeRevocation, Revocation
from protos.documents.models import Import, Model, Release
from protos.documents.runs import Checkpoint, Run, RunEnd, Stop
from protos.documents.submissions import Dataset, Purge, Reward, Suite, Withdrawal
from protos.documents.witnesses import Witness, WitnessPolicy
from trust.canonical import emit
from trust.digests import Digest, digest_bytes, hex_of
from trust.dsse import open_envelope, seal
from trust.errors import Denied, Invalid
from trust.keys import ArtifactKey
from trust.statements import Statement, Subject, payload_digest, sign_statement, unverified_statement

KINDS: dict[str, type[Claim]] = {
    "member": Member,
    "node": Node,
    "node-revocation": NodeRevocation,
    "keys": Keys,
    "revocation": Revocation,
    "delegation": Delegation,
    "dataset": Dataset,
    "suite": Suite,
    "reward": Reward,
    "withdrawal": Withdrawal,
    "purge": Purge,
    "run": Run,
    "checkpoint": Checkpoint,
    "run-end": RunEnd,
    "stop": Stop,
    "import": Import,
    "model": Model,
    "evaluation": Evaluation,
    "campaign": Campaign,
    "consent": Consent,
    "hold": Hold,
    "campaign-end": CampaignEnd,
    "release": Release,
    "witness": Witness,
    "witness-policy": WitnessPolicy,
}
_KIND_OF = {document: kind for kind, document in KINDS.items()}
_TYPE_PREFIX = "urn:coalition:statement:"
_TYPE_SUFFIX = ":v1"
_PREFIX = {"dataset": "data", "evaluation": "eval"}

HUB = "hub"
"""The signer name of statements that the hub itself makes."""

BY_HUB = frozenset(
    {"member", "node", "purge", "checkpoint", "run-end", "import", "model", "evaluation", "campaign-end"}
)
"""Kinds that only the hub may sign. All others are members' own."""


@dataclass(frozen=True)
class Claimed:
    """What an envelope says; `proved` are the keys (by keyid) whose signatures were verified, none before anybody looked."""

    kind: str
    claim: Claim
    payload: Digest
    proved: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The identifier that users see."""
        return identifier(self.kind, self.claim, self.payload)


NAMED = (Member, Node, Model, Release)
"""What is called by a name."""


def identifier(kind: str, claim: Claim, payload: Digest) -> str:
    """All that has no name of its own is `kind-` and twelve digits of its payload digest.

    Whoever wants two payloads with the same twelve finds them within a minute: a ledger holds the first and refuses the other.
    """
    if isinstance(claim, Member):
        return claim.member
    if isinstance(claim, Node):
        return claim.node
    if isinstance(claim, Model):
        return claim.model
    if isinstance(claim, Release):
        return claim.version
    return unnamed(kind, payload)


def unnamed(kind: str, payload: Digest) -> str:
    """The identifier of a statement that has no name of its own."""
    return f"{_PREFIX.get(kind, kind)}-{hex_of(payload)[:12]}"


def predicate_type(kind: str) -> str:
    """The in-toto predicate type of a kind."""
    return f"{_TYPE_PREFIX}{kind}{_TYPE_SUFFIX}"


def _subjects(kind: str, claim: Claim, predicate: dict[str, Any]) -> tuple[Subject, ...]:
    files = getattr(claim, "files", None)
    if files:
        return tuple(Subject(entry.path, Digest(entry.digest)) for entry in files)
    return (Subject(kind, digest_bytes(emit(predicate))),)


def sign(claim: Claim, key: ArtifactKey, *others: ArtifactKey) -> bytes:
    """The DSSE envelope of a claim's in-toto statement, signed by one key or several."""
    kind = _KIND_OF[type(claim)]
    predicate = claim.model_dump(mode="json")
    return sign_statement(Statement(predicate_type(kind), _subjects(kind, claim, predicate), predicate), key, *others)


def resign(envelope: bytes, key: ArtifactKey) -> bytes:
    """The same payload under this key; the envelope itself when the key signed it already. Raises `Invalid`."""
    opened = open_envelope(envelope)
    try:
        opened.verify(key.public)
    except Denied:
        return seal(opened.payload, key)
    return envelope


def read(envelope: bytes) -> Claimed:
    """Parse an envelope by the closed schema of its kind. Says nothing about its signature. Raises `Invalid`."""
    statement = unverified_statement(envelope)
    text = statement.predicate_type
    kind = text.removeprefix(_TYPE_PREFIX).removesuffix(_TYPE_SUFFIX)
    if kind not in KINDS or predicate_type(kind) != text:
        raise Invalid(f"Statement type {text!r} is not one this coalition knows.")
    claim = KINDS[kind].read(statement.predicate)
    if statement.subjects != _subjects(kind, claim, statement.predicate):
        raise Invalid(f"The subjects of the {kind} statement do not match its predicate.")
    return Claimed(kind, claim, payload_digest(envelope))
