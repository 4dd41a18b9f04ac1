"""The witness's rule, status by status as c2sp.org/tlog-witness writes it, and what must hold for any log that lies."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.trust.histories import KEY, forked, tree
from trust import merkle
from trust.errors import Invalid
from trust.forks import Fork, verify_fork
from trust.keys import LogKey
from trust.notes import TreeHead, sign_tree_head, verify_tree_head
from trust.witnessing import SIZE_TYPE, Accepted, AddCheckpoint, Refused, judge

LOGS = {"europe": KEY.public}


def ask(body: bytes, known: TreeHead | None = None) -> Accepted | Refused:
    return judge(body, LOGS, lambda origin: known if known and known.origin == origin else None)


def refusal(body: bytes, known: TreeHead | None = None) -> Refused:
    answer = ask(body, known)
    assert isinstance(answer, Refused)
    return answer


@given(st.lists(st.integers(0, 80), min_size=1, max_size=6).map(sorted))
def test_a_log_that_only_grows_is_always_cosigned(sizes: list[int]) -> None:
    history, known = tree(80), None
    for size in sizes:
        answer = ask(history.request(known.size if known else 0, size), known)
        assert isinstance(answer, Accepted)
        known = answer.head
        assert known == history.head(size)


@given(st.integers(1, 80).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.integers(1, n), st.just(n))))
def test_a_rewritten_log_is_never_cosigned(case: tuple[int, int, int]) -> None:
    at, old, new = case
    honest, other = tree(new), forked(new, at)
    answer = ask(other.request(old, new), honest.head(old))
    if at >= old and old < new:
        assert isinstance(answer, Accepted)  # nothing that was cosigned is touched
    else:
        assert isinstance(answer, Refused)
        assert answer.status == (409 if old == new else 422)
        assert answer.suspect is not None


def test_an_unknown_origin_is_404() -> None:
    stranger = LogKey.generate("asia")
    body = AddCheckpoint(0, (), sign_tree_head(TreeHead("asia", 1, b"\1" * 32), stranger)).encode()
    assert refusal(body).status == 404


def test_a_head_that_the_log_did_not_sign_is_403() -> None:
    body = AddCheckpoint(0, (), tree(3).note(3, LogKey.generate("europe"))).encode()
    assert refusal(body).status == 403


def test_signatures_of_unknown_keys_are_ignored() -> None:
    note = sign_tree_head(tree(3).head(3), LogKey.generate("stranger"), KEY)
    assert isinstance(ask(AddCheckpoint(0, (), note).encode()), Accepted)


def test_an_old_size_beyond_the_checkpoint_is_400() -> None:
    assert refusal(AddCheckpoint(5, (), tree(3).note(3)).encode(), tree(5).head(5)).status == 400


def test_another_old_size_is_409_with_the_size_that_was_cosigned() -> None:
    answer = refusal(tree(9).request(3, 9), tree(9).head(5))
    assert (answer.status, answer.body, answer.content_type) == (409, b"5\n", SIZE_TYPE)
    answer = refusal(tree(9).request(3, 9))
    assert (answer.status, answer.body) == (409, b"0\n")


def test_a_proof_that_does_not_hold_is_422() -> None:
    known = tree(9).head(5)
    good = AddCheckpoint.decode(tree(9).request(5, 9))
    for proof in ((), good.proof[:-1], (*good.proof, b"\0" * 32), good.proof[::-1]):
        assert refusal(AddCheckpoint(5, proof, good.note).encode(), known).status == 422
    assert (
        refusal(AddCheckpoint(0, (b"\0" * 32,), good.note).encode()).status == 422
    )  # from nothing, nothing is to prove
    assert refusal(AddCheckpoint(5, (b"\0" * 32,), tree(5).note(5)).encode(), known).status == 422


def test_two_roots_of_one_size_are_409_and_prove_a_fork() -> None:
    answer = refusal(forked(5, 2).request(5, 5), tree(5).head(5))
    assert (answer.status, answer.body) == (409, b"5\n")
    assert answer.suspect is not None
    verify_fork(Fork(tree(5).note(5), answer.suspect.note), KEY.public)
    assert refusal(forked(5, 2).request(4, 5), tree(5).head(5)).suspect is not None  # whatever old size is claimed
    assert refusal(AddCheckpoint(0, (), sign_tree_head(TreeHead("europe", 0, b"\1" * 32), KEY)).encode()).status == 409


def test_a_smaller_head_is_refused_and_handed_on_to_be_compared() -> None:
    """Whether it is an older one or of another history, only who holds the tree can tell."""
    known = tree(9).head(9)
    for old, status in ((0, 409), (4, 409), (9, 400)):
        answer = refusal(AddCheckpoint(old, (), forked(9, 2).note(4)).encode(), known)
        assert answer.status == status
        assert answer.suspect is not None


def test_without_a_cosigned_head_nothing_is_contradicted() -> None:
    for body in (AddCheckpoint(0, (b"\0" * 32,), tree(3).note(3)).encode(), tree(3).request(2, 3)):
        assert refusal(body).suspect is None


def test_the_same_head_again_is_cosigned_again() -> None:
    assert isinstance(ask(tree(5).request(5, 5), tree(5).head(5)), Accepted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 00\n\n" + tree(1).note(1),
        b"old -1\n\n" + tree(1).note(1),
        b"old 0 \n\n" + tree(1).note(1),
        b"Old 0\n\n" + tree(1).note(1),
        b"old 0\nAAAA\n\n" + tree(1).note(1),
        b"old 0\nnot base64\n\n" + tree(1).note(1),
        b"old 0\n\n",
        b"old 0\n\neurope\n",
        b"old 0\n\neurope\n1\nAAAA\n\n\xe2\x80\x94 europe AAAA\n",
        b"old \xff\n\n" + tree(1).note(1),
        b"old 0\n" + b"A" * (1 << 17),
        AddCheckpoint(0, (b"\0" * 32,) * 64, tree(1).note(1)).encode(),
    ],
)
def test_a_malformed_request_is_400(body: bytes) -> None:
    assert refusal(body).status == 400


@given(st.binary(max_size=300))
def test_no_bytes_make_the_rule_fail(body: bytes) -> None:
    assert refusal(body).status in (400, 403, 404)


def test_a_request_reads_as_it_was_written() -> None:
    body = tree(9).request(5, 9)
    assert AddCheckpoint.decode(body).encode() == body
    with pytest.raises(Invalid):
        AddCheckpoint.decode(b"old x\n\n" + tree(1).note(1))


@dataclass
class Witness:
    """What a witness remembers, and everything it ever cosigned."""

    known: TreeHead | None = None
    cosigned: list[TreeHead] = field(default_factory=list)

    def ask(self, body: bytes) -> None:
        answer = ask(body, self.known)
        if isinstance(answer, Accepted):
            self.known = answer.head
            self.cosigned.append(answer.head)


class HostileLog(RuleBasedStateMachine):
    """A log that shows any mix of three histories, with true and with made-up old sizes and proofs, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.histories = [tree(40), forked(40, 7), forked(40, 20)]
        self.witness = Witness()

    @rule(history=st.integers(0, 2), new=st.integers(0, 40), lie=st.integers(-2, 2))
    def show(self, history: int, new: int, lie: int) -> None:
        old = max(0, min(new, (self.witness.known.size if self.witness.known else 0) + lie))
        self.witness.ask(self.histories[history].request(old, new))

    @rule(source=st.integers(0, 2), shown=st.integers(0, 2), new=st.integers(1, 40))
    def show_with_the_proof_of_another_history(self, source: int, shown: int, new: int) -> None:
        old = self.witness.known.size if self.witness.known else 0
        if old <= new:
            proof = merkle.consistency_proof(old, new, self.histories[source].node)
            self.witness.ask(AddCheckpoint(old, tuple(proof), self.histories[shown].note(new)).encode())

    @invariant()
    def what_was_cosigned_is_one_history(self) -> None:
        sizes = [head.size for head in self.witness.cosigned]
        assert sizes == sorted(sizes)
        assert any(
            all(head.root == history.head(head.size).root for head in self.witness.cosigned)
            for history in self.histories
        )


TestHostileLog = HostileLog.TestCase


def test_the_log_key_is_all_that_is_trusted() -> None:
    """The head that was accepted is the one that was signed, not what a second note in the request says."""
    body = tree(3).request(0, 3)
    answer = ask(body)
    assert isinstance(answer, Accepted)
    assert verify_tree_head(answer.note, KEY.public, "europe") == answer.head
