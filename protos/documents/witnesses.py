"""Who watches the ledger: members' witness keys, and how many cosignatures make an entry final. The rule is here, pure:
the hub applies it to its tables, an auditor to the ledger, and both must come to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator

from protos.documents.base import Claim
from trust.cosignatures import cosignatures
from trust.errors import Invalid
from trust.keys import WitnessPublicKey


class Witness(Claim):
    """Signed by a member: this key cosigns tree heads for us, from this entry on. A later statement replaces it.

    The key is called `hub/member`, so that a cosignature line says whose it is.
    """

    vkey: str = Field(max_length=400)

    @field_validator("vkey")
    @classmethod
    def _whole(cls, vkey: str) -> str:
        try:
            if WitnessPublicKey.decode(vkey).encode() == vkey:
                return vkey
        except Invalid as problem:
            raise ValueError(problem.what) from None
        raise ValueError("the witness key is not in its usual spelling")

    @property
    def key(self) -> WitnessPublicKey:
        return WitnessPublicKey.decode(self.vkey)


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


def current(witnesses: Sequence[EnrolledWitness], size: int) -> list[EnrolledWitness]:
    """Each member's witness as the first `size` entries have it, in the order of the members' first statements."""
    newest: dict[str, EnrolledWitness] = {}
    for witness in witnesses:
        if witness.index < size:
            newest[witness.member] = witness
    return list(newest.values())


def quorum(witnesses: Sequence[EnrolledWitness], policies: Sequence[Policy], size: int) -> Quorum:
    """What a head over `size` entries needs, as those entries have it; both in the order of the ledger.

    Without a policy: a majority of the members' witnesses, not counting the core team's; none where there are none.
    """
    counted = tuple(witness for witness in current(witnesses, size) if witness.counted)
    stated = [policy for policy in policies if policy.index < size]
    if stated:
        return Quorum(stated[-1].quorum, counted, stated=True)
    return Quorum(len(counted) // 2 + 1 if counted else 0, counted, stated=False)


def final_without_witnesses(witnesses: Sequence[EnrolledWitness], policies: Sequence[Policy], size: int) -> int:
    """Entries of a ledger of `size` that are final because some head over them needed no cosignature."""
    stated = [*(witness.index for witness in witnesses), *(policy.index for policy in policies)]
    changes = sorted({index for index in stated if index < size}, reverse=True)
    for largest in (size, *changes):  # the quorum is one and the same for all sizes from one change to the next
        if quorum(witnesses, policies, largest).needed == 0:
            return largest
    return 0
