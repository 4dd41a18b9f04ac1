"""Who may say what at which entry of the ledger: a member's standing, folded over the statements before it.

The one rule for the hub, which refuses by it, and for whoever verifies the ledger without a hub. Keys follow TUF's rule for
its root (TUF 1.0.33, section 5.3): version N+1 exactly, signed by a key of version N and by every key that is new. Time is the
ledger's order; the hub's clock, as entries carry it, counts only for the end of a delegation.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from protos.documents.base import Claim, Document, moment
from protos.documents.members import Delegation, Keys, Member, Revocation, Role
from trust import dsse
from trust.errors import Conflict, Denied
from trust.keys import ArtifactPublicKey

SKEW = dt.timedelta(minutes=5)
LONGEST = dt.timedelta(days=366)
"""A delegation ends no later than this after it was recorded."""
MAX_DELEGATES = 100
"""Delegations of a member that count at the same time."""
MAX_VERSIONS = 500
"""Of a member's keys, from one introduction to the next: a change a week for ten years."""
MAX_DELEGATIONS = 1000
"""Of a member, those that are over included: what they signed must stay provable."""
MAX_DISOWNED = 1000
"""Keys of TLS that a member disowns one by one. So a standing, which is looked at on every call, has a size."""
BY_CORE = frozenset({"run", "stop", "campaign", "hold", "release", "witness-policy", "node-revocation"})
"""Kinds that only members of the core team may sign."""

OF_KEYS = frozenset({"keys", "revocation", "delegation"})
"""Kinds about keys: every member may sign them, and no delegate. They are judged when they are recorded, and never again."""


class Key(Document):
    """A key's time: from entry `since` to before entry `until`; not to be believed from entry `compromised_since` on."""

    keyid: str
    pem: str
    since: int
    until: int | None = None
    compromised_since: int | None = None

    @property
    def valid(self) -> bool:
        return self.until is None and self.compromised_since is None

    @property
    def public(self) -> ArtifactPublicKey:
        return ArtifactPublicKey.from_pem(self.pem.encode())

    def end(self, index: int) -> Key:
        return self if self.until is not None else self.model_copy(update={"until": index})

    def compromise(self, since: int, index: int) -> Key:
        earliest = since if self.compromised_since is None else min(since, self.compromised_since)
        return self.end(index).model_copy(update={"compromised_since": earliest})


class Delegate(Document):
    """A delegation and what is left of it."""

    id: str
    name: str
    key: Key
    kinds: tuple[str, ...]
    budget: int
    used: int = 0
    expires_at: str

    def counts(self, time: str) -> bool:
        """Neither revoked nor over at that time, with some grace for a clock."""
        return self.key.valid and moment(time) <= moment(self.expires_at) + SKEW


class Standing(Document):
    """One member's: every key it ever had, its delegates, and the keys of TLS that it disowned."""

    member: str
    organisation: str
    role: Role
    version: int
    keys: tuple[Key, ...]
    delegates: tuple[Delegate, ...] = ()
    disowned: tuple[str, ...] = ()
    revoked_at: str = ""
    """When a key of its own was revoked last: certificates of before count for nothing, but for those of `kept`."""
    kept: tuple[str, ...] = ()
    """The TLS keys (and artifact keys) that the last revocation kept."""

    # --- questions ---------------------------------------------------------------------------------------------------

    @property
    def valid_keys(self) -> tuple[Key, ...]:
        return tuple(key for key in self.keys if key.valid)

    @property
    def revoked(self) -> bool:
        """Nothing may be said in this member's name any more."""
        return not self.valid_keys

    def delegate(self, identifier: str) -> Delegate:
        """Raises `Denied`."""
        for each in self.delegates:
            if each.id == identifier:
                return each
        raise Denied(f"{self.member} made no {identifier[:80]}.")

    def compromised_since(self, keyid: str) -> int | None:
        """The entry from which on a key's statements are not to be believed."""
        for key in (*self.keys, *(each.key for each in self.delegates)):
            if key.keyid == keyid:
                return key.compromised_since
        return None

    def prove(self, envelope: bytes, claim: Claim) -> tuple[str, ...]:
        """The keys that signed, among those that may have to. Raises `Denied` when none of them did."""
        opened = dsse.open_envelope(envelope)
        hints = [signature.keyid for signature in opened.signatures]
        several = isinstance(claim, Keys | Delegation)
        proved: list[str] = []
        for key in sorted(self._candidates(claim), key=lambda key: key.keyid not in hints):
            try:
                opened.verify(key)
            except Denied:
                continue
            proved.append(key.keyid)
            if not several:
                break
        if not proved:
            raise Denied(f"The statement carries no valid signature of a key that {self.member} has now.")
        return tuple(proved)

    def _candidates(self, claim: Claim) -> Iterator[ArtifactPublicKey]:
        if claim.delegation:
            yield self.delegate(claim.delegation).key.public
            return
        found = {key.keyid: key.public for key in self.valid_keys}
        named = claim.keys if isinstance(claim, Keys) else (claim.key,) if isinstance(claim, Delegation) else ()
        for pem in named:
            public = ArtifactPublicKey.from_pem(pem.encode())
            found.setdefault(public.keyid, public)
        yield from found.values()

    def disowns(self, claim: Revocation, index: int) -> bool:
        """Whether a revocation of this member's would say of any key what is not said yet."""
        after = self.with_revocation(claim, index, claim.issued_at)
        return (after.keys, after.delegates, after.disowned) != (self.keys, self.delegates, self.disowned)

    # --- the rule ----------------------------------------------------------------------------------------------------

    def allow(self, kind: str, claim: Claim, proved: tuple[str, ...], index: int, time: str) -> None:
        """May these keys say this at entry `index`, recorded at `time`? Raises `Denied` or `Conflict` with what is against it."""
        if (self.role == "viewer" and kind not in OF_KEYS) or (kind in BY_CORE and self.role != "core"):
            raise Denied(f"{self.member} is a {self.role}, and a {self.role} signs no {kind}.")
        if claim.delegation:
            self._allow_delegate(self.delegate(claim.delegation), kind, proved, time)
            return
        if not any(key.keyid in proved for key in self.valid_keys):
            raise Denied(
                f"No key that {self.member} has now signed this {kind}: it was replaced or revoked.",
                "If `coalition keys rotate` was cut short, run it again.",
            )
        if isinstance(claim, Keys):
            self._allow_keys(claim, proved)
        elif isinstance(claim, Delegation):
            self._allow_delegation(claim, proved, time)
        elif isinstance(claim, Revocation):
            self._allow_revocation(claim, index)

    def _allow_delegate(self, delegate: Delegate, kind: str, proved: tuple[str, ...], time: str) -> None:
        if not delegate.key.valid or delegate.key.keyid not in proved:
            raise Denied(f"{delegate.id} was revoked, or another key signed.", "Ask the member for a new delegation.")
        if kind not in delegate.kinds:
            raise Denied(f"{delegate.id} covers {', '.join(delegate.kinds)}, and not {kind}.")
        if delegate.used >= delegate.budget:
            raise Denied(f"The budget of {delegate.id} is spent: {delegate.budget} statements.")
        if not delegate.counts(time):
            raise Denied(
                f"{delegate.id} expired at {delegate.expires_at}; it is {time} at the hub.",
                "Ask the member for a new delegation.",
            )

    def _allow_keys(self, claim: Keys, proved: tuple[str, ...]) -> None:
        if claim.version != self.version + 1:
            raise Denied(
                f"{self.member} has version {self.version} of its keys; version {claim.version} cannot follow."
            )
        if claim.version > MAX_VERSIONS:
            raise Denied(
                f"{self.member} changed its keys {MAX_VERSIONS - 1} times, and can do so no more.",
                "Ask the core team to revoke the member and to invite it again.",
            )
        held = {key.keyid: key for key in self.keys}
        for pem in claim.keys:
            keyid = keyid_of(pem)
            if keyid not in proved:
                raise Denied(f"The new key {keyid[:16]} did not sign: nobody showed that it is held.")
            if keyid in held and not held[keyid].valid:
                raise Denied(f"The key {keyid[:16]} was given up before and cannot come back.")

    def _allow_delegation(self, claim: Delegation, proved: tuple[str, ...], time: str) -> None:
        if moment(claim.expires_at) - moment(time) > LONGEST + SKEW:
            raise Denied(f"A delegation lasts {LONGEST.days} days at most, and this one until {claim.expires_at}.")
        if keyid_of(claim.key) not in proved:
            raise Denied("The delegate's key did not sign: nobody showed that it is held.")
        if not {"dataset", "suite", "consent", "sealed"}.issuperset(claim.kinds) and self.role != "core":
            raise Denied(f"{self.member} is a {self.role} and cannot delegate {', '.join(claim.kinds)}.")
        if sum(each.counts(time) for each in self.delegates) >= MAX_DELEGATES:
            raise Denied(f"{self.member} has {MAX_DELEGATES} delegations.", "Revoke one: `coalition keys list`.")
        if len(self.delegates) >= MAX_DELEGATIONS:
            raise Denied(
                f"{self.member} made {MAX_DELEGATIONS} delegations, and can make no more.",
                "Use one that counts (`coalition keys list`), or ask the core team to invite the robot as a member.",
            )

    def _allow_revocation(self, claim: Revocation, index: int) -> None:
        if claim.compromised_since > index:
            raise Denied(f"Entry {claim.compromised_since} is not in the ledger yet; this would be entry {index}.")
        if claim.member != self.member and self.role != "core":
            raise Denied(f"A {self.role} revokes its own keys alone.")
        if claim.member != self.member or not claim.key:
            return
        after = self.with_revocation(claim, index, claim.issued_at)
        if after.revoked:
            raise Denied(
                "No key of yours would be left.",
                "Replace it first, and keep the new one: `coalition keys revoke` does.",
            )
        if len(after.disowned) > max(MAX_DISOWNED, len(self.disowned)):
            raise Denied(
                f"{self.member} disowned {MAX_DISOWNED} keys of TLS one by one.",
                "Revoke all at once: `coalition keys revoke` without a key.",
            )

    # --- the fold: what each statement changes; total, since the ledger holds only what was allowed -------------------

    def renewed_by(self, claim: Member, index: int) -> Standing:
        """Introduced again, after being revoked: versions start anew. Raises `Conflict` for a member in good standing."""
        if not self.revoked:
            raise Conflict(f"{self.member} is a member already.")
        first = introduce(claim, index)
        return first.model_copy(
            update={
                "keys": (*self.keys, *first.keys),
                "delegates": self.delegates,
                "disowned": self.disowned,
                "revoked_at": self.revoked_at,
                "kept": self.kept,
            }
        )

    def with_keys(self, claim: Keys, index: int) -> Standing:
        named = {keyid_of(pem): pem for pem in claim.keys}
        kept = tuple(key if key.keyid in named else key.end(index) for key in self.keys)
        known = {key.keyid for key in self.keys}
        new = tuple(Key(keyid=keyid, pem=pem, since=index) for keyid, pem in named.items() if keyid not in known)
        return self.model_copy(update={"version": claim.version, "keys": kept + new})

    def with_delegation(self, claim: Delegation, identifier: str, index: int) -> Standing:
        made = Delegate(
            id=identifier,
            name=claim.name,
            key=Key(keyid=keyid_of(claim.key), pem=claim.key, since=index),
            kinds=claim.kinds,
            budget=claim.budget,
            expires_at=claim.expires_at,
        )
        return self.model_copy(update={"delegates": (*self.delegates, made)})

    def with_statement(self, claim: Claim) -> Standing:
        """One statement fewer is left to the delegate that signed it."""
        return self.model_copy(
            update={
                "delegates": tuple(
                    each.model_copy(update={"used": each.used + 1}) if each.id == claim.delegation else each
                    for each in self.delegates
                )
            }
        )

    def with_revocation(self, claim: Revocation, index: int, time: str) -> Standing:
        """Of one key, wherever it stands; of all keys and delegates of the member, when the claim names none.

        A stolen key of the member's own may have made others: what was recorded since then falls with it, unless it is kept.
        """
        since, whole = claim.compromised_since, claim.key is None
        own = whole or any(key.keyid == claim.key for key in self.keys)
        lent = any(each.key.keyid == claim.key for each in self.delegates)

        def struck(key: Key) -> Key:
            made_since = own and key.since >= since and key.keyid not in claim.keeps
            return key.compromise(since, index) if whole or made_since or key.keyid == claim.key else key

        delegates = (each.model_copy(update={"key": struck(each.key)}) for each in self.delegates)
        return self.model_copy(
            update={
                "keys": tuple(struck(key) for key in self.keys),
                "delegates": tuple(delegates),
                "disowned": self.disowned if own or lent else tuple(dict.fromkeys((*self.disowned, str(claim.key)))),
                "revoked_at": time if own else self.revoked_at,
                "kept": claim.keeps if own else self.kept,
            }
        )


def introduce(claim: Member, index: int) -> Standing:
    """A new member's standing."""
    key = Key(keyid=keyid_of(claim.artifact_key), pem=claim.artifact_key, since=index)
    return Standing(member=claim.member, organisation=claim.organisation, role=claim.role, version=1, keys=(key,))


def keyid_of(pem: str) -> str:
    return ArtifactPublicKey.from_pem(pem.encode()).keyid
