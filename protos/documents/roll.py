"""The standing of every member, folded over the ledger's statements from the first: who may sign what, without a hub."""

from __future__ import annotations

from dataclasses import dataclass, field

from protos.documents.members import Delegation, Keys, Member, Revocation
from protos.documents.standing import OF_KEYS, Standing, introduce, keyid_of
from protos.documents.statements import BY_HUB, HUB, Claimed
from trust.errors import Corrupt, Denied
from trust.keys import ArtifactPublicKey
from trust.statements import verify_statement


@dataclass
class Roll:
    """Admits entries in order; `quarantined` tells which of them a key signed that was not to be believed any more.

    `quarantined_at` has, for each of those, the entry that says so.
    """

    hub_key: ArtifactPublicKey
    members: dict[str, Standing] = field(default_factory=dict)
    quarantined_at: dict[int, int] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _signed: list[tuple[int, str, str, str]] = field(default_factory=list)  # index, identifier, member, key

    def admit(self, claimed: Claimed, envelope: bytes, index: int, time: str) -> None:
        """Verify who signed entry `index`, and let it count for what follows. Raises `Corrupt` or `Denied`."""
        claim = claimed.claim
        if (claimed.kind in BY_HUB) != (claim.signer == HUB):
            raise Corrupt(f"{claim.signer} signed a {claimed.kind}, which is not for it to say.")
        if claim.signer == HUB:
            verify_statement(envelope, self.hub_key)
        else:
            self._check_member(claimed, envelope, index, time)
        self._apply(claimed, index, time)

    def quarantined(self) -> list[tuple[int, str, str]]:
        """(index, identifier, member) of the entries that a key signed after it was compromised, as became known later."""
        return [each[:3] for each in self._signed if each[0] in self.quarantined_at]

    def _quarantine(self, standing: Standing, now: int) -> None:
        for index, _, member, keyid in self._signed:
            if member == standing.member:
                since = standing.compromised_since(keyid)
                if since is not None and index >= since:
                    self.quarantined_at.setdefault(index, now)

    def _check_member(self, claimed: Claimed, envelope: bytes, index: int, time: str) -> None:
        claim = claimed.claim
        standing = self.members.get(claim.signer)
        if standing is None:
            raise Corrupt(f"{claim.signer} signed before being a member.")
        proved = standing.prove(envelope, claim)
        standing.allow(claimed.kind, claim, proved, index, time)
        if claimed.kind not in OF_KEYS:
            self._signed.append((index, claimed.id, claim.signer, proved[0]))

    def _apply(self, claimed: Claimed, index: int, time: str) -> None:
        claim, signer = claimed.claim, claimed.claim.signer
        match claim:
            case Member():
                self._introduce(claim, index)
            case Keys():
                self._take(*(keyid_of(pem) for pem in claim.keys), owner=self.members[signer])
                self.members[signer] = self.members[signer].with_keys(claim, index)
            case Delegation():
                self._take(keyid_of(claim.key))
                self.members[signer] = self.members[signer].with_delegation(claim, claimed.id, index)
            case Revocation():
                if claim.member not in self.members:
                    raise Corrupt(f"{claim.member}, which is no member, is revoked.")
                self.members[claim.member] = self.members[claim.member].with_revocation(claim, index, time)
                self._quarantine(self.members[claim.member], index)
            case _ if claim.delegation and signer in self.members:
                self.members[signer] = self.members[signer].with_statement(claim)

    def _introduce(self, claim: Member, index: int) -> None:
        known = self.members.get(claim.member)
        if claim.member == HUB or (known is not None and not known.revoked):
            raise Corrupt(f"{claim.member} is introduced a second time.")
        self._take(keyid_of(claim.artifact_key))
        self.members[claim.member] = known.renewed_by(claim, index) if known else introduce(claim, index)

    def _take(self, *keyids: str, owner: Standing | None = None) -> None:
        """Each key belongs to one party for ever; a member may keep its own."""
        kept = {key.keyid for key in owner.keys} if owner else set()
        for keyid in keyids:
            if keyid in self._keys and keyid not in kept:
                raise Denied(f"The key {keyid[:16]} is somebody's already.")
        self._keys.update(keyids)
