"""Which blobs a hub must hold: a fold over the statements of a ledger. So an auditor can tell what was purged from what was lost.

A blob may be absent when a `purge` names it, nothing that stood at that entry named it, and nothing has named it since.
Envelopes, models, logs and whatever else the ledger names stand for ever; a submission stands until it is withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protos.documents.base import Claim
from protos.documents.leaf import Leaf
from protos.documents.members import Member
from protos.documents.named import blobs_of
from protos.documents.submissions import Dataset, Purge, Reward, Suite, Withdrawal
from trust.digests import Digest
from trust.errors import Corrupt


@dataclass(frozen=True)
class _Submission:
    owner: str
    blobs: frozenset[Digest]


@dataclass
class Holdings:
    """Admits entries in order."""

    purged: dict[Digest, int] = field(default_factory=dict)
    """Blobs that may be absent, with the entry that says so."""
    _named: dict[Digest, int] = field(default_factory=dict)  # statements that stand
    _submissions: dict[str, _Submission] = field(default_factory=dict)
    _withdrawn: set[str] = field(default_factory=set)
    _core: set[str] = field(default_factory=set)

    def admit(self, index: int, leaf: Leaf, claim: Claim) -> None:
        """Let entry `index` count. Raises `Corrupt` for a withdrawal or purge that does not follow from what was before it."""
        blobs = self.name(leaf, claim)
        match claim:
            case Withdrawal():
                self._withdraw(claim)
            case Purge():
                self._purge(claim, index)
            case Dataset() | Suite() | Reward():
                self._submissions.setdefault(leaf.id, _Submission(claim.signer, blobs))
            case Member():
                (self._core.add if claim.role == "core" else self._core.discard)(claim.member)

    def name(self, leaf: Leaf, claim: Claim) -> frozenset[Digest]:
        """The blobs of an entry are to be there, whoever signed it; it changes nothing else."""
        blobs = frozenset(digest for digest, _ in blobs_of(claim))
        for digest in (Digest(leaf.envelope), *blobs):
            self._name(digest)
        return blobs

    def _name(self, digest: Digest) -> None:
        self._named[digest] = self._named.get(digest, 0) + 1
        self.purged.pop(digest, None)

    def _withdraw(self, claim: Withdrawal) -> None:
        submission = self._submissions.get(claim.submission)
        if submission is None or claim.submission in self._withdrawn:
            raise Corrupt(f"it withdraws {claim.submission}, which does not stand before it.")
        if claim.signer != submission.owner and claim.signer not in self._core:
            raise Corrupt(f"{claim.signer} withdraws {claim.submission}, which is {submission.owner}'s.")
        self._withdrawn.add(claim.submission)
        for digest in submission.blobs:
            self._named[digest] -= 1

    def _purge(self, claim: Purge, index: int) -> None:
        if claim.submission not in self._withdrawn:
            raise Corrupt(f"it purges {claim.submission}, which was not withdrawn before it.")
        for digest in map(Digest, claim.blobs):
            if digest not in self._submissions[claim.submission].blobs:
                raise Corrupt(f"it purges {digest}, which is no blob of {claim.submission}.")
            if self._named[digest]:
                raise Corrupt(f"it purges {digest}, which a statement that stands names.")
        self.purged.update({Digest(digest): index for digest in claim.blobs})
