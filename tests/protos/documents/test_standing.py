"""A standing has a size, whatever its member signs: it is read on every call, and handed out whole by `GetKeys`."""

from __future__ import annotations

import pytest

from protos.documents.members import Delegation, Keys, Member, Revocation
from protos.documents.standing import MAX_DELEGATIONS, MAX_DISOWNED, MAX_VERSIONS, Standing, introduce
from trust.errors import Denied
from trust.keys import ArtifactKey

KEY, OTHER = ArtifactKey.generate(), ArtifactKey.generate()
PEM, OTHER_PEM = (key.public.pem().decode() for key in (KEY, OTHER))
US = {"hub": "europe", "signer": "law"}
TIME = "2026-06-01T00:00:00.000Z"
DELEGATION = Delegation.read(
    {**US, "name": "robot", "key": OTHER_PEM, "kinds": ["dataset"], "budget": 1, "expires_at": "2026-06-02T00:00:00Z"}
)


def member() -> Member:
    described = {"member": "law", "organisation": "Law", "role": "contributor", "artifact_key": PEM}
    return Member.read({"hub": "europe", "signer": "hub", **described})


@pytest.fixture
def standing() -> Standing:
    return introduce(member(), 0)


def test_keys_are_changed_so_many_times_until_the_member_is_introduced_again(standing: Standing) -> None:
    def change(of: Standing) -> None:
        claim = Keys.read({**US, "version": of.version + 1, "keys": [PEM]})
        of.allow("keys", claim, (KEY.public.keyid,), 1, TIME)

    change(standing.model_copy(update={"version": MAX_VERSIONS - 1}))
    old = standing.model_copy(update={"version": MAX_VERSIONS})
    with pytest.raises(Denied, match=f"changed its keys {MAX_VERSIONS - 1} times") as refused:
        change(old)
    assert "invite it again" in refused.value.todo
    gone = old.with_revocation(
        Revocation.read({**US, "member": "law", "compromised_since": 1, "reason": "for a test"}), 1, TIME
    )
    assert gone.renewed_by(member(), 2).version == 1


def test_a_member_makes_so_many_delegations_those_that_are_over_included(standing: Standing) -> None:
    made = standing.with_delegation(DELEGATION, "delegation-000000000000", 1).delegates[0]
    over = made.model_copy(update={"expires_at": "2026-01-01T00:00:00Z"})
    proved = (KEY.public.keyid, OTHER.public.keyid)
    few, many = (
        standing.model_copy(update={"delegates": (over,) * count}) for count in (MAX_DELEGATIONS - 1, MAX_DELEGATIONS)
    )
    few.allow("delegation", DELEGATION, proved, 1, TIME)
    with pytest.raises(Denied, match=f"made {MAX_DELEGATIONS} delegations"):
        many.allow("delegation", DELEGATION, proved, 1, TIME)


def test_keys_of_tls_are_disowned_one_by_one_so_often_and_all_at_once_always(standing: Standing) -> None:
    both = standing.with_keys(Keys.read({**US, "version": 2, "keys": [PEM, OTHER_PEM]}), 1)
    full = both.model_copy(update={"disowned": tuple(f"{number:064x}" for number in range(MAX_DISOWNED))})

    def disown(key: str) -> None:
        claim = {**US, "member": "law", "key": key, "compromised_since": 1, "reason": "for a test"}
        full.allow("revocation", Revocation.read(claim), (KEY.public.keyid,), 1, TIME)

    with pytest.raises(Denied, match=f"disowned {MAX_DISOWNED} keys of TLS") as refused:
        disown("f" * 64)
    assert "Revoke all at once" in refused.value.todo
    disown(f"{0:064x}")  # said again
    disown(OTHER.public.keyid)
