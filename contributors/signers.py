"""Whether a member could say what it said where the ledger records it, from the statements about keys alone: without a hub.

The rule is the hub's own and the auditors' (`protos.documents.roll`): each key counts from one entry of the ledger to another,
and what a revocation disowns from an entry on is not believed, also where it was recorded before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from contributors.client import Coalition
from contributors.leaves import Leaves
from contributors.receipts import check_receipt
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.leaf import Leaf
from protos.documents.members import Member, Revocation
from protos.documents.roll import Roll
from protos.documents.standing import Standing
from protos.documents.statements import HUB, Claimed
from trust.digests import digest_bytes
from trust.dsse import MAX_ENVELOPE, open_envelope
from trust.errors import Corrupt, Denied, NotFound
from trust.keys import ArtifactPublicKey, LogPublicKey
from trust.receipts import Receipt, verify_receipt

ABOUT_KEYS = frozenset({"member", "keys", "delegation", "revocation"})
"""The kinds of statement that say which keys speak for whom."""


@dataclass(frozen=True)
class Proven:
    """A statement with its entry of the ledger (`leaf`) and the proof of where that stands; `check` tells whether it does."""

    envelope: bytes
    leaf: bytes
    proof: bytes

    @cached_property
    def index(self) -> int:
        return Receipt.decode(self.proof).index

    @cached_property
    def entry(self) -> Leaf:
        return Leaf.decode(self.leaf)

    @cached_property
    def claimed(self) -> Claimed:
        return statements.read(self.envelope)

    def check(self, key: LogPublicKey) -> None:
        """Raises `Corrupt` or `Denied` for a proof that does not hold, and for one of another statement."""
        entry, said = self.entry, self.claimed
        stated = (digest_bytes(self.envelope), said.payload, said.kind, said.id, said.claim.signer)
        if stated != (entry.envelope, entry.payload, entry.kind, entry.id, entry.signer):
            raise Corrupt(f"The ledger's entry of {self.entry.id} is not of its statement.")
        if self.claimed.claim.hub != key.name:
            raise Denied(f"{self.entry.id} is of the hub {self.claimed.claim.hub}, and the ledger of {key.name}.")
        verify_receipt(self.proof, self.leaf, key)


def proven(hub: Coalition, identifier: str) -> Proven:
    """What the ledger records under an identifier or at an index, checked. Raises `NotFound`, `Corrupt`, `Denied`."""
    receipt = hub.receipt(identifier)
    check_receipt(hub.home, receipt)
    found = Proven(hub.blob(Leaf.decode(receipt.leaf).envelope, MAX_ENVELOPE), receipt.leaf, receipt.proof)
    found.check(hub.home.ledger_key())
    return found


class Signers:
    """Every statement about keys that the ledger holds, as its newest head proves it: the hub can leave none out.

    What was read once is remembered: each question reads only what is new in the ledger.
    """

    def __init__(self, hub: Coalition) -> None:
        self.hub = hub
        self._leaves = Leaves(hub)
        self._waiting: deque[tuple[int, Leaf]] = deque()
        self._told: list[tuple[int, Leaf, str]] = []  # index, entry, the member whose keys it is about
        self._core: dict[str, bool] = {}  # whether those who revoked anything may revoke others' keys

    def chain(self, said: Proven) -> list[Proven]:
        """Every statement about the keys of who said it, and of those that revoked any of them; in the ledger's order.

        Raises as `proven` and `Leaves.new`, and `NotFound` for a stranger.
        """
        self._look()
        if said.index >= self._leaves.size:
            raise Corrupt(f"The hub's newest tree head leaves out entry {said.index}, which it proved before.")
        signer = said.entry.signer
        members, more = {signer}, True
        while more:
            found = {entry.signer for _, entry, about in self._told if entry.kind == "revocation" and about in members}
            more = not found <= members
            members |= found
        if signer not in {about for _, _, about in self._told}:
            raise NotFound(f"The ledger does not introduce the member {signer}.")
        return [self._proven(index, entry) for index, entry, about in self._told if about in members]

    def _look(self) -> None:
        self._waiting.extend(each for each in self._leaves.new() if each[1].kind in ABOUT_KEYS)
        while self._waiting:
            index, entry = self._waiting[0]
            self._told.append((index, entry, self._about(entry)))
            self._waiting.popleft()

    def _about(self, entry: Leaf) -> str:
        """Whose keys an entry is about; a revocation by the core team alone may be of another's than its signer's.

        What others revoke is not even read, however much of it there is.
        """
        if entry.kind == "member":
            self._core.pop(entry.id, None)
            return entry.id
        if entry.kind != "revocation" or not self._may_revoke_others(entry.signer):
            return entry.signer
        claim = self._claim(entry)
        return claim.member if isinstance(claim, Revocation) else entry.signer

    def _may_revoke_others(self, member: str) -> bool:
        """As it was introduced last."""
        if member not in self._core:
            told = [entry for _, entry, _ in self._told if entry.kind == "member" and entry.id == member]
            claim = self._claim(told[-1]) if told else None
            self._core[member] = isinstance(claim, Member) and claim.role == "core"
        return self._core[member]

    def _claim(self, entry: Leaf) -> Claim:
        return statements.read(self.hub.blob(entry.envelope, MAX_ENVELOPE)).claim

    def _proven(self, index: int, entry: Leaf) -> Proven:
        found = proven(self.hub, str(index))
        if (found.index, found.leaf) != (index, entry.encode()):
            raise Corrupt(f"The hub proves another entry {index} than its newest tree head holds.")
        return found


def standing_of(said: Proven, chain: Sequence[Proven], hub_key: ArtifactPublicKey) -> Standing:
    """The signer's standing after all of the chain, which may be later than what it said.

    Raises `Corrupt` or `Denied` for what somebody in the chain might not say where it stands, and `Denied` for `said` when a
    later entry disowns the key that signed it.
    """
    signer, roll = said.claimed.claim.signer, Roll(hub_key)
    for each in sorted({found.index: found for found in (*chain, said)}.values(), key=lambda found: found.index):
        if each is not said and each.claimed.kind not in ABOUT_KEYS:
            raise Corrupt(f"A {each.claimed.kind} says nothing about keys.")
        roll.admit(each.claimed, each.envelope, each.index, each.entry.time)
    if (revoked := roll.quarantined_at.get(said.index)) is not None:
        raise Denied(
            f"{said.claimed.id} is entry {said.index} of the ledger, and entry {revoked} disowns the key that signed it "
            "from an earlier one on."
        )
    if signer == HUB:
        raise Denied(f"{said.claimed.id} is signed by the hub, and not by a member.")
    return roll.members[signer]


def signing_key(standing: Standing, envelope: bytes, claim: Claim) -> ArtifactPublicKey:
    """The key that signed, of those that the member has or had. Raises `Denied`."""
    keys = [standing.delegate(claim.delegation).key] if claim.delegation else standing.keys
    opened = open_envelope(envelope)
    for key in keys:
        try:
            opened.verify(key.public)
        except Denied:
            continue
        return key.public
    raise Denied(f"The statement is not signed by a key of {standing.member}.")
