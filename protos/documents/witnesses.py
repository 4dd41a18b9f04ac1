"""Who watches the ledger: members' witness keys, and how many cosignatures make an entry final. The rule is here, pure:
the hub applies it to its tables, an auditor to the ledger, and both must come to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from protos.documents.base import Claim
from protos.documents.members import Revocation
from protos.documents.standing import Standing
from trust.cosignatures import cosignatures
from trust.encoding import from_base64, to_base64
from trust.errors import Denied, Invalid
from trust.keys import WitnessKey, WitnessPublicKey

EVERYTHING = 1 << 62
"""More entries than any ledger has."""


class Witness(Claim):
    """Signed by a member: this key cosigns tree heads for us, from this entry on. A later statement replaces it.

    The key is called `hub/member`, so that a cosignature line says whose it is. `possession` is its own signature (base64)
    that the member holds it; statements of before this was asked for have none.
    """

    vkey: str = Field(max_length=400)
    possession: str = Field(default="", max_length=200)

    @classmethod
    def of(cls, hub: str, signer: str, key: WitnessKey) -> Self:
        """What the holder of the key says."""
        signature = to_base64(key.sign(_possession(hub, signer)))
        return cls(hub=hub, signer=signer, vkey=key.public.encode(), possession=signature)

    @field_validator("vkey")
    @classmethod
    def _whole(cls, vkey: str) -> str:
        try:
            if WitnessPublicKey.decode(vkey).encode() == vkey:
                return vkey
        except Invalid as problem:
            raise ValueError(problem.what) from None
        raise ValueError("the witness key is not in its usual spelling")

    @model_validator(mode="after")
    def _held(self) -> Self:
        if self.possession:
            try:
                signature = from_base64(self.possession, "The witness key's signature")
                self.key.verify(signature, _possession(self.hub, self.signer))
            except (Invalid, Denied):
                raise ValueError("the witness key did not sign: nobody showed that it is held") from None
        return self

    @property
    def key(self) -> WitnessPublicKey:
        return WitnessPublicKey.decode(self.vkey)


def _possession(hub: str, signer: str) -> bytes:
    """What no cosignature begins with (c2sp.org/tlog-cosignature)."""
    return f"coalition-witness-possession/v1\n{hub}\n{signer}\n".encode()


class WitnessPolicy(Claim):
    """Signed by a core member: so many cosignatures make a head final, from this entry on. 0 asks for none."""

    quorum: int = Field(ge=0, le=10_000)


@dataclass(frozen=True)
class EnrolledWitness:
    """A `witness` statement at entry `index`. Those of the core team are welcome and not counted: it runs the hub."""

    index: int
    member: str
    role: str
    key: WitnessPublicKey

    @property
    def counted(self) -> bool:
        return self.role == "contributor"


@dataclass(frozen=True)
class DisownedWitness:
    """Entry `index` revokes the member, or a key that may have signed its `witness` statement: from here on it has none, until
    it states one anew."""

    index: int
    member: str


WitnessChange: TypeAlias = EnrolledWitness | DisownedWitness


@dataclass(frozen=True)
class Policy:
    """A `witness-policy` statement at entry `index`."""

    index: int
    quorum: int


@dataclass(frozen=True)
class Quorum:
    """What a tree head needs: `needed` cosignatures by these witnesses."""

    needed: int
    witnesses: tuple[EnrolledWitness, ...]
    stated: bool

    def met_by(self, note: bytes) -> bool:
        """Raises `Invalid` for a malformed note."""
        return len(cosignatures(note, [witness.key for witness in self.witnesses])) >= self.needed

    @property
    def rule(self) -> str:
        """In a sentence, for people."""
        counted = f"{len(self.witnesses)} members' witnesses" if len(self.witnesses) != 1 else "one member's witness"
        if self.needed:
            why = "as the core team's policy says" if self.stated else "a majority"
            return f"An entry is final when {self.needed} of {counted} cosigned a tree head that covers it ({why})."
        if self.stated:
            return "Every entry is final at once: the core team's policy asks for no witness."
        return "Every entry is final at once: no member runs a witness, so nobody but the hub vouches for its history."


@dataclass
class Watch:
    """Who witnesses and what a quorum is, folded over a ledger's statements in their order."""

    witnesses: list[WitnessChange] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)

    def admit(self, index: int, claim: Claim, standing: Standing | None) -> None:
        """Let entry `index` count; `standing` is, after it, that of the member whom it is about."""
        match claim:
            case Witness() if standing:
                self.witnesses.append(EnrolledWitness(index, claim.signer, standing.role, claim.key))
            case WitnessPolicy():
                self.policies.append(Policy(index, claim.quorum))
            case Revocation() if standing and disowns(claim, standing, self.witnesses):
                self.witnesses.append(DisownedWitness(index, claim.member))


def disowns(claim: Revocation, standing: Standing, witnesses: Sequence[WitnessChange]) -> bool:
    """Whether a revocation leaves the member without its witness; `standing` is the member's after it.

    It does so where it revokes the whole member, or where a key that falls by it may have signed the witness's statement.
    """
    found = [each for each in current(witnesses, EVERYTHING) if each.member == claim.member]
    if not found:
        return False
    (stated,) = (each.index for each in found)
    return standing.revoked or any(
        key.compromised_since is not None
        and max(key.since, key.compromised_since) <= stated
        and (key.until is None or stated <= key.until)
        for key in standing.keys
    )


def current(witnesses: Sequence[WitnessChange], size: int) -> list[EnrolledWitness]:
    """Each member's witness as the first `size` entries have it, in the order of the members' first statements."""
    newest: dict[str, EnrolledWitness] = {}
    for each in witnesses:
        if each.index < size:
            if isinstance(each, EnrolledWitness):
                newest[each.member] = each
            else:
                newest.pop(each.member, None)
    return list(newest.values())


def quorum(witnesses: Sequence[WitnessChange], policies: Sequence[Policy], size: int) -> Quorum:
    """What a head over `size` entries needs, as those entries have it; both in the order of the ledger.

    Without a policy: a majority of the members' witnesses, not counting the core team's; none where there are none.
    """
    counted = tuple(witness for witness in current(witnesses, size) if witness.counted)
    stated = [policy for policy in policies if policy.index < size]
    if stated:
        return Quorum(stated[-1].quorum, counted, stated=True)
    return Quorum(len(counted) // 2 + 1 if counted else 0, counted, stated=False)


def final_without_witnesses(witnesses: Sequence[WitnessChange], policies: Sequence[Policy], size: int) -> int:
    """Entries of a ledger of `size` that are final because some head over them needed no cosignature."""
    stated = [*(witness.index for witness in witnesses), *(policy.index for policy in policies)]
    changes = sorted({index for index in stated if index < size}, reverse=True)
    for largest in (size, *changes):  # the quorum is one and the same for all sizes from one change to the next
        if quorum(witnesses, policies, largest).needed == 0:
            return largest
    return 0
