"""Checking the whole ledger: every entry, every signature, every blob. Over the wire, or offline from a hub's directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from contributors.seen import Seen
from contributors.sources import Source
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.holdings import Holdings
from protos.documents.leaf import Leaf
from protos.documents.members import Revocation
from protos.documents.named import blobs_of
from protos.documents.roll import Roll
from protos.documents.witnesses import Watch
from trust.audit import Audit, verify_log
from trust.digests import Digest
from trust.errors import Corrupt, Problem
from trust.keys import ArtifactPublicKey, LogPublicKey
from trust.merkle import leaf_hash
from trust.notes import TreeHead
from trust.statements import payload_digest


@dataclass(frozen=True)
class Recorded:
    """A statement that entry `index` records and that holds; from entry `quarantined_at` on, if any, it is not used."""

    index: int
    leaf: Leaf
    claim: Claim
    quarantined_at: int | None = None

    def stands(self, size: int) -> bool:
        """As the ledger's first `size` entries have it."""
        return self.quarantined_at is None or self.quarantined_at >= size


@dataclass
class Verdict:
    """What was checked, and what did not hold."""

    head: TreeHead
    note: bytes
    entries: int = 0
    verified_blobs: int = 0
    vouched_blobs: int = 0
    absent_blobs: int = 0
    """Blobs that a mirror does not hold, because its owner may not read them."""
    purged_blobs: int = 0
    """Blobs that the ledger says need not be anywhere: of withdrawn submissions, and named by nothing that stands."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be compared, and speaks against nobody."""
    quarantined: list[str] = field(default_factory=list)
    """Entries that were rightly recorded, and are not to be believed by what a member or the core team revoked later."""
    watch: Watch = field(default_factory=Watch)
    """Who witnesses, and what a quorum is."""
    recorded: list[Recorded] = field(default_factory=list)
    """Every statement that holds, in the order of the ledger."""
    leaves: tuple[bytes, ...] = ()
    """The entries as they are hashed into the tree."""


Advance = Callable[[str], None]
"""Called with a word on each thing that was checked."""


def verify_ledger(
    source: Source,
    ledger_key: LogPublicKey,
    hub_key: ArtifactPublicKey,
    seen: Seen | None = None,
    advance: Advance = lambda what: None,
) -> Verdict:
    """Check all of it. A tree that does not hold, or not what was `seen` of it, raises `Corrupt` or `Denied`; further findings
    are collected.
    """
    audit: Audit = verify_log(source, ledger_key)
    verdict = Verdict(audit.head, audit.note, leaves=audit.entries)
    if seen is not None:
        hashes = [leaf_hash(entry) for entry in audit.entries]
        verdict.notes = [*seen.check(audit.head, hashes, live=source.live), *seen.damaged]
    roll, holdings = Roll(hub_key), Holdings()
    blobs: dict[Digest, str] = {}
    recorded: set[str] = set()
    for index, data in enumerate(audit.entries):
        advance(f"entry {index}")
        try:
            claim = _check_entry(source, data, index, audit.head.origin, roll, recorded)
            holdings.admit(index, Leaf.decode(data), claim)
            about = claim.member if isinstance(claim, Revocation) else claim.signer
            verdict.watch.admit(index, claim, roll.members.get(about))
        except Problem as problem:
            verdict.problems.append(f"Entry {index}: {problem.what}")
            continue
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:  # nobody's bytes stop an audit
            verdict.problems.append(f"Entry {index}: it makes no sense: {error}.")
            continue
        verdict.entries += 1
        verdict.recorded.append(Recorded(index, Leaf.decode(data), claim))
        blobs.update({digest: f"entry {index} names it as {name}" for digest, name in blobs_of(claim)})
    verdict.purged_blobs = len(holdings.purged)
    for digest, where in [*blobs.items(), *((digest, "no entry names it") for digest in source.others(blobs))]:
        if digest not in holdings.purged:
            advance(digest)
            _check_blob(source, digest, where, verdict)
    verdict.problems.extend(source.leftovers())
    verdict.recorded = [replace(each, quarantined_at=roll.quarantined_at.get(each.index)) for each in verdict.recorded]
    verdict.quarantined = [
        f"Entry {index}: {identifier} of {member} was signed after its key was compromised."
        for index, identifier, member in roll.quarantined()
    ]
    return verdict


def _check_entry(source: Source, data: bytes, index: int, origin: str, roll: Roll, recorded: set[str]) -> Claim:
    """The leaf, its envelope and its signature say the same, by somebody who may, for the first time."""
    leaf = Leaf.decode(data)
    envelope = source.read_envelope(Digest(leaf.envelope))
    claimed = statements.read(envelope)
    stated = (payload_digest(envelope), claimed.kind, claimed.id, claimed.claim.signer)
    if stated != (leaf.payload, leaf.kind, leaf.id, leaf.signer) or claimed.claim.hub != origin:
        raise Corrupt(f"the ledger's leaf does not match its statement {leaf.envelope}.")
    if leaf.payload in recorded:
        raise Corrupt(f"{leaf.id} is recorded a second time.")
    recorded.add(leaf.payload)
    roll.admit(claimed, envelope, index, leaf.time)
    return claimed.claim


def _check_blob(source: Source, digest: Digest, where: str, verdict: Verdict) -> None:
    try:
        how = source.check_blob(digest)
    except Problem as problem:
        verdict.problems.append(f"{problem.what.rstrip('.')} ({where}).")
        return
    if how == "verified":
        verdict.verified_blobs += 1
    elif how == "absent":
        verdict.absent_blobs += 1
    else:
        verdict.vouched_blobs += 1
