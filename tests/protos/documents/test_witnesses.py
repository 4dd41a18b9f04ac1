"""When an entry is final: a function of the ledger alone, so that hub and auditor cannot differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.documents.members import Keys, Member, Revocation
from protos.documents.standing import introduce
from protos.documents.witnesses import (
    EnrolledWitness,
    Policy,
    Watch,
    Witness,
    WitnessPolicy,
    current,
    final_without_witnesses,
    quorum,
)
from trust.cosignatures import cosign, with_cosignatures
from trust.errors import Invalid
from trust.keys import ArtifactKey, LogKey, WitnessKey
from trust.notes import TreeHead, sign_tree_head

KEYS = [WitnessKey.generate(f"europe/m{number}") for number in range(8)]


def witness(index: int, number: int, role: str = "contributor", key: int | None = None) -> EnrolledWitness:
    return EnrolledWitness(index, f"m{number}", role, KEYS[number if key is None else key].public)


@pytest.mark.parametrize(("members", "needed"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_without_a_policy_it_is_the_majority_of_the_members_witnesses(members: int, needed: int) -> None:
    found = quorum([witness(number, number) for number in range(members)], [], 100)
    assert (found.needed, len(found.witnesses)) == (needed, members)


def test_the_core_teams_witness_is_not_counted() -> None:
    found = quorum([witness(0, 0, "core"), witness(1, 1)], [], 2)
    assert [each.member for each in found.witnesses] == ["m1"]
    note = sign_tree_head(TreeHead("europe", 2, b"\1" * 32), LogKey.generate("europe"))
    assert not found.met_by(with_cosignatures(note, [cosign(note, KEYS[0], 1)]))
    assert found.met_by(with_cosignatures(note, [cosign(note, KEYS[0], 1), cosign(note, KEYS[1], 1)]))


def test_a_head_is_judged_by_what_its_own_entries_say() -> None:
    witnesses, policies = [witness(3, 0), witness(5, 1), witness(9, 0, key=7)], [Policy(7, 1)]
    assert [quorum(witnesses, policies, size).needed for size in (3, 4, 6, 7, 8)] == [0, 1, 2, 2, 1]
    assert current(witnesses, 9)[0].key == KEYS[0].public
    assert current(witnesses, 10)[0].key == KEYS[7].public  # replaced by a later statement


def revocation(member: str, since: int, key: str | None = None, *keeps: str) -> Revocation:
    claim = Revocation(hub="europe", signer=member, member=member, key=key, compromised_since=since, reason="stolen")
    return claim.model_copy(update={"keeps": keeps})


class Signer:
    """A member whose standing and witness are folded as a ledger says."""

    def __init__(self) -> None:
        self.watch, self.index = Watch(), 0
        self.keys = [ArtifactKey.generate()]
        self.standing = introduce(self.member(self.keys[0]), self.next())

    def member(self, key: ArtifactKey) -> Member:
        pem = key.public.pem().decode()
        return Member(hub="europe", signer="hub", member="m0", organisation="M", role="contributor", artifact_key=pem)

    def next(self) -> int:
        self.index += 1
        return self.index - 1

    def witness(self, key: WitnessKey) -> int:
        index = self.next()
        self.watch.admit(index, Witness.of("europe", "m0", key), self.standing)
        return index

    def rotate(self) -> None:
        self.keys.append(ArtifactKey.generate())
        pems = (self.keys[-1].public.pem().decode(),)
        claim = Keys(hub="europe", signer="m0", version=len(self.keys), keys=pems)
        self.standing = self.standing.with_keys(claim, self.next())

    def revoke(self, claim: Revocation) -> None:
        index = self.next()
        self.standing = self.standing.with_revocation(claim, index, "2026-01-01T00:00:00.000Z")
        self.watch.admit(index, claim, self.standing)

    def current(self, size: int | None = None) -> list[str]:
        return [each.key.name for each in current(self.watch.witnesses, self.index if size is None else size)]


def test_a_revoked_members_witness_counts_no_more_from_there_on() -> None:
    us = Signer()
    us.witness(KEYS[0])
    before = us.index
    us.revoke(revocation("m0", since=us.index))
    assert (us.current(before), us.current()) == (["europe/m0"], [])
    assert quorum(us.watch.witnesses, [], us.index).needed == 0
    assert us.standing.revoked
    us.standing = us.standing.renewed_by(us.member(ArtifactKey.generate()), us.next())
    assert us.current() == []  # it is another one's for all we know
    us.witness(KEYS[0])
    assert us.current() == ["europe/m0"]


@pytest.mark.parametrize(("since", "counts"), [("before", False), ("after", True)])
def test_a_witness_that_a_stolen_key_may_have_stated_counts_no_more(since: str, counts: bool) -> None:
    us = Signer()
    stated = us.witness(KEYS[0])
    us.rotate()
    before = us.index
    from_ = stated if since == "before" else stated + 1
    us.revoke(revocation("m0", from_, *(key.public.keyid for key in us.keys)))
    assert us.current(before) == ["europe/m0"]
    assert us.current() == (["europe/m0"] if counts else [])


def test_a_witness_that_a_later_key_stated_outlives_the_revocation_of_an_earlier_one() -> None:
    us = Signer()
    us.rotate()
    us.witness(KEYS[0])
    us.revoke(revocation("m0", 0, *(key.public.keyid for key in us.keys)))
    assert us.current() == ["europe/m0"]


def test_a_witness_that_a_key_stated_which_falls_with_the_stolen_one_counts_no_more() -> None:
    """A thief replaces the key that it stole and states a witness with the new one; its owner keeps a key of its own."""
    us = Signer()
    since = us.index
    us.rotate()
    us.witness(KEYS[0])
    us.rotate()
    us.revoke(revocation("m0", since, us.keys[0].public.keyid, us.keys[2].public.keyid))
    assert not us.standing.revoked
    assert us.current() == []


def test_what_was_recorded_before_the_first_witness_stays_final() -> None:
    witnesses = [witness(3, 0), witness(5, 1)]
    assert final_without_witnesses([], [], 9) == 9
    assert final_without_witnesses(witnesses, [], 9) == 3
    assert final_without_witnesses(witnesses, [Policy(7, 0)], 9) == 9
    assert final_without_witnesses(witnesses, [Policy(7, 0), Policy(8, 1)], 12) == 8
    assert final_without_witnesses([witness(0, 0)], [], 9) == 0


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 7)), max_size=8),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=4),
    st.integers(0, 31),
)
def test_the_shortcut_equals_looking_at_every_size(
    enrolled: list[tuple[int, int]], stated: list[tuple[int, int]], size: int
) -> None:
    witnesses = [witness(index, number) for index, number in sorted(enrolled)]
    policies = [Policy(index, needed) for index, needed in sorted(stated)]
    free = [n for n in range(size + 1) if quorum(witnesses, policies, n).needed == 0]
    assert final_without_witnesses(witnesses, policies, size) == max(free, default=0)


def test_the_rule_is_said_openly() -> None:
    assert "nobody but the hub" in quorum([], [], 5).rule
    assert "2 of 3 members' witnesses" in quorum([witness(n, n) for n in range(3)], [], 5).rule
    assert "asks for no witness" in quorum([witness(0, 0)], [Policy(1, 0)], 5).rule


def test_a_statement_holds_a_whole_key_and_no_other_fields() -> None:
    vkey = KEYS[0].public.encode()
    assert Witness.of("europe", "m0", KEYS[0]).key == KEYS[0].public
    for bad in (vkey[:-4], vkey + " ", LogKey.generate("europe/m0").public.encode(), ""):
        with pytest.raises(Invalid):
            Witness.read({"hub": "europe", "signer": "m0", "vkey": bad})
    for possession in (
        Witness.of("europe", "m0", KEYS[1]).possession,
        Witness.of("asia", "m0", KEYS[0]).possession,
        "no",
    ):
        with pytest.raises(Invalid, match="nobody showed"):
            Witness.read({"hub": "europe", "signer": "m0", "vkey": vkey, "possession": possession})
    for quorum_of in (-1, 10_001, 1.5):
        with pytest.raises(Invalid):
            WitnessPolicy.read({"hub": "europe", "signer": "core", "quorum": quorum_of})
