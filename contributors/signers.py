"""Which keys speak for a member, from the signed statements that say so: the hub's introduction, then the member's own."""

from __future__ import annotations

from collections.abc import Sequence

from contributors.client import Coalition
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.members import Delegation, Keys, Member
from protos.documents.standing import Standing, introduce
from protos.documents.statements import HUB
from trust.dsse import open_envelope
from trust.errors import Corrupt, Denied, NotFound
from trust.keys import ArtifactPublicKey
from trust.statements import verify_statement

MAX_STATEMENT = 4 << 20


def key_statements(hub: Coalition, member: str, *, delegations: bool = False) -> list[bytes]:
    """The envelopes, in the ledger's order, from the member's last introduction on. Raises `NotFound`."""
    kinds = {"keys", "delegation"} if delegations else {"keys"}
    found: list[str] = []
    start = 0
    while entries := hub.entries(start):
        for entry in entries:
            if entry.kind == "member" and entry.id == member:
                found = [entry.envelope]
            elif entry.kind in kinds and entry.signer == member:
                found.append(entry.envelope)
        start += len(entries)
    if not found:
        raise NotFound(f"The ledger does not introduce the member {member}.")
    return [hub.blob(envelope, MAX_STATEMENT) for envelope in found]


def standing_from(envelopes: Sequence[bytes], hub_key: ArtifactPublicKey) -> Standing:
    """The member's standing after these statements, each verified by what went before. Raises `Corrupt` or `Denied`."""
    verify_statement(envelopes[0], hub_key)
    member = statements.read(envelopes[0]).claim
    if not isinstance(member, Member) or member.signer != HUB:
        raise Corrupt("The first statement about the signer does not introduce a member.")
    standing = introduce(member, 0)
    for index, envelope in enumerate(envelopes[1:], start=1):
        claimed = statements.read(envelope)
        claim = claimed.claim
        if claim.signer != standing.member or claim.hub != member.hub:
            raise Corrupt(f"A statement about the keys of {standing.member} is somebody else's.")
        standing.allow(claimed.kind, claim, standing.prove(envelope, claim), index, claim.issued_at)
        if isinstance(claim, Keys):
            standing = standing.with_keys(claim, index)
        elif isinstance(claim, Delegation):
            standing = standing.with_delegation(claim, claimed.id, index)
        else:
            raise Corrupt(f"A {claimed.kind} says nothing about keys.")
    return standing


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
