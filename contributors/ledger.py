"""Checking the whole ledger: every entry, every signature, every blob. Over the wire, or offline from a hub's directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from contributors.sources import Source
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.evaluations import Evaluation
from protos.documents.leaf import Leaf
from protos.documents.members import Member
from protos.documents.models import Model, Release
from protos.documents.runs import Checkpoint
from protos.documents.statements import BY_CORE, BY_HUB, HUB
from trust.audit import Audit, verify_log
from trust.digests import Digest
from trust.errors import Corrupt, Problem
from trust.keys import ArtifactPublicKey, LogPublicKey
from trust.notes import TreeHead
from trust.statements import payload_digest, verify_statement


@dataclass
class Verdict:
    """What was checked, and what did not hold."""

    head: TreeHead
    note: bytes
    entries: int = 0
    verified_blobs: int = 0
    vouched_blobs: int = 0
    problems: list[str] = field(default_factory=list)


Advance = Callable[[str], None]
"""Called with a word on each thing that was checked."""


def verify_ledger(
    source: Source,
    ledger_key: LogPublicKey,
    hub_key: ArtifactPublicKey,
    known: TreeHead | None,
    advance: Advance = lambda what: None,
) -> Verdict:
    """Check all of it. A tree that does not hold raises `Corrupt` or `Denied`; further findings are collected."""
    audit: Audit = verify_log(source, ledger_key, known)
    verdict = Verdict(audit.head, audit.note)
    parties = _Parties(hub_key)
    blobs: dict[Digest, str] = {}
    seen: set[str] = set()
    for index, data in enumerate(audit.entries):
        advance(f"entry {index}")
        try:
            claim = _check_entry(source, data, audit.head.origin, parties, seen)
        except Problem as problem:
            verdict.problems.append(f"Entry {index}: {problem.what}")
            continue
        verdict.entries += 1
        blobs.update({digest: f"entry {index} names it as {name}" for digest, name in _blobs_of(claim)})
    for digest, where in [*blobs.items(), *((digest, "no entry names it") for digest in source.others(blobs))]:
        advance(digest)
        _check_blob(source, digest, where, verdict)
    verdict.problems.extend(source.leftovers())
    return verdict


class _Parties:
    """Who may sign what, as the ledger itself introduces them: the hub its own kinds, members theirs, the core its own."""

    def __init__(self, hub_key: ArtifactPublicKey) -> None:
        self._hub_key = hub_key
        self._members: dict[str, Member] = {}

    def key(self, kind: str, signer: str) -> ArtifactPublicKey:
        """Raises `Corrupt` when `signer` may not say such a thing."""
        if (kind in BY_HUB) != (signer == HUB):
            raise Corrupt(f"{signer} signed a {kind}, which is not for it to say.")
        if signer == HUB:
            return self._hub_key
        if signer not in self._members:
            raise Corrupt(f"{signer} signed before being a member.")
        member = self._members[signer]
        if member.role == "viewer" or (kind in BY_CORE and member.role != "core"):
            raise Corrupt(f"{signer}, a {member.role}, signed a {kind}.")
        return ArtifactPublicKey.from_pem(member.artifact_key.encode())

    def introduce(self, member: Member) -> None:
        if member.member in self._members or member.member == HUB:
            raise Corrupt(f"{member.member} is introduced a second time.")
        self._members[member.member] = member


def _check_entry(source: Source, data: bytes, origin: str, parties: _Parties, seen: set[str]) -> Claim:
    """The leaf, its envelope and its signature say the same, by somebody who may, for the first time."""
    leaf = Leaf.decode(data)
    envelope = source.read_envelope(Digest(leaf.envelope))
    claimed = statements.read(envelope)
    stated = (payload_digest(envelope), claimed.kind, claimed.id, claimed.claim.signer)
    if stated != (leaf.payload, leaf.kind, leaf.id, leaf.signer) or claimed.claim.hub != origin:
        raise Corrupt(f"the ledger's leaf does not match its statement {leaf.envelope}.")
    verify_statement(envelope, parties.key(leaf.kind, leaf.signer))
    if leaf.payload in seen:
        raise Corrupt(f"{leaf.id} is recorded a second time.")
    seen.add(leaf.payload)
    if isinstance(claimed.claim, Member):
        parties.introduce(claimed.claim)
    return claimed.claim


def _check_blob(source: Source, digest: Digest, where: str, verdict: Verdict) -> None:
    try:
        how = source.check_blob(digest)
    except Problem as problem:
        verdict.problems.append(f"{problem.what.rstrip('.')} ({where}).")
        return
    if how == "verified":
        verdict.verified_blobs += 1
    else:
        verdict.vouched_blobs += 1


def _blobs_of(claim: Claim) -> Iterator[tuple[Digest, str]]:
    """Every blob that a statement names and the hub keeps. Shards of checkpoints stay on the nodes."""
    for file in getattr(claim, "files", ()):
        yield Digest(file.digest), file.path
    if isinstance(claim, Model) and claim.update:
        yield Digest(claim.update), "update"
    if isinstance(claim, Checkpoint):
        yield Digest(claim.weights.digest), "weights"
    if isinstance(claim, Evaluation) and claim.samples:
        yield Digest(claim.samples), "samples"
    if isinstance(claim, Release):
        yield Digest(claim.bundle), "bundle"
