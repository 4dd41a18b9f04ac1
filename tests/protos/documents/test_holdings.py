"""What a hub must hold follows from the ledger: a purge excuses a blob's absence when nothing that stands names it."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.base import Claim, FileEntry
from protos.documents.holdings import Holdings
from protos.documents.leaf import Leaf
from protos.documents.members import Member
from protos.documents.named import blobs_of
from protos.documents.statements import HUB
from protos.documents.submissions import Dataset, DatasetFile, Purge, Withdrawal
from trust.digests import Digest, digest_bytes
from trust.errors import Corrupt
from trust.keys import ArtifactKey

A, B, C = (digest_bytes(text) for text in (b"a", b"b", b"c"))
US, OTHERS, CORE = "law-institute", "university", "core-team"


class Ledger:
    """Entries one after the other, and what an auditor makes of them."""

    def __init__(self) -> None:
        self.holdings, self.size = Holdings(), 0

    def add(self, claim: Claim, identifier: str = "", envelope: Digest | None = None) -> int:
        index, self.size = self.size, self.size + 1
        named = envelope or digest_bytes(b"envelope %d" % index)
        leaf = Leaf(
            envelope=named,
            id=identifier or f"entry-{index}",
            kind="any",
            payload=digest_bytes(b"payload"),
            signer=claim.signer,
            time="2026-01-01T00:00:00.000Z",
        )
        self.holdings.admit(index, leaf, claim)
        return index

    def dataset(self, identifier: str, *digests: Digest, signer: str = US, category: str = "controlled") -> None:
        files = tuple(DatasetFile(path=f"f-{n}", digest=d, size=1, rows=1) for n, d in enumerate(digests))
        described = {"domain": "law", "licence": "CC-BY-4.0", "provenance": "own", "rows": len(files)}
        values = {"hub": "europe", "signer": signer, "name": "data", "category": category}
        self.add(Dataset.model_validate({**values, **described, "files": files}), identifier)

    def withdraw(self, submission: str, signer: str = US) -> None:
        self.add(Withdrawal(hub="europe", signer=signer, submission=submission))

    def purge(self, submission: str, *digests: Digest) -> int:
        return self.add(Purge(hub="europe", signer=HUB, submission=submission, blobs=digests))

    def member(self, name: str, role: Any) -> None:
        pem = ArtifactKey.generate().public.pem().decode()
        self.add(Member(hub="europe", signer=HUB, member=name, organisation=name, role=role, artifact_key=pem))


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.member(CORE, "core")
    ledger.member(US, "contributor")
    ledger.dataset("ours", A, B)
    return ledger


def test_only_a_purge_after_a_withdrawal_excuses(ledger: Ledger) -> None:
    with pytest.raises(Corrupt, match="not withdrawn before it"):
        ledger.purge("ours", A)
    ledger.withdraw("ours")
    assert ledger.holdings.purged == {}
    with pytest.raises(Corrupt, match="no blob of ours"):
        ledger.purge("ours", A, C)
    index = ledger.purge("ours", A)
    assert ledger.holdings.purged == {A: index}


def test_what_another_submission_names_stands_until_that_is_withdrawn(ledger: Ledger) -> None:
    ledger.dataset("theirs", B, signer=OTHERS)
    ledger.withdraw("ours")
    with pytest.raises(Corrupt, match="a statement that stands names"):
        ledger.purge("ours", A, B)
    ledger.withdraw("theirs", OTHERS)
    index = ledger.purge("ours", A, B)
    assert ledger.holdings.purged == {A: index, B: index}


def test_what_is_named_again_must_be_there_again(ledger: Ledger) -> None:
    ledger.withdraw("ours")
    ledger.purge("ours", A, B)
    ledger.dataset("again", A)
    assert set(ledger.holdings.purged) == {B}
    ledger.withdraw("again")
    assert set(ledger.holdings.purged) == {B}
    ledger.purge("again", A)
    assert set(ledger.holdings.purged) == {A, B}


def test_an_envelope_never_goes(ledger: Ledger) -> None:
    """Though its bytes are somebody's file as well."""
    ledger.add(Withdrawal(hub="europe", signer=US, submission="ours"), envelope=A)
    with pytest.raises(Corrupt, match="a statement that stands names"):
        ledger.purge("ours", A)
    assert set(ledger.holdings.purged) == set()


@pytest.mark.parametrize(("signer", "may"), [(US, True), (CORE, True), (OTHERS, False)])
def test_only_the_owner_and_the_core_team_withdraw(ledger: Ledger, signer: str, may: bool) -> None:
    if may:
        ledger.withdraw("ours", signer)
        ledger.purge("ours", A)
        return
    with pytest.raises(Corrupt, match="which is law-institute's"):
        ledger.withdraw("ours", signer)
    with pytest.raises(Corrupt, match="not withdrawn"):
        ledger.purge("ours", A)


def test_who_was_of_the_core_team_is_not_for_ever(ledger: Ledger) -> None:
    ledger.member(CORE, "viewer")
    with pytest.raises(Corrupt):
        ledger.withdraw("ours", CORE)


def test_nothing_is_withdrawn_twice_or_unheard_of(ledger: Ledger) -> None:
    ledger.withdraw("ours")
    for submission in ("ours", "nobodys"):
        with pytest.raises(Corrupt, match="does not stand"):
            ledger.withdraw(submission)


def test_data_that_stayed_at_home_has_no_blobs(ledger: Ledger) -> None:
    ledger.dataset("private", C, category="private")
    ledger.withdraw("private")
    with pytest.raises(Corrupt, match="no blob"):
        ledger.purge("private", C)


def test_a_statement_that_does_not_hold_still_names(ledger: Ledger) -> None:
    """An entry that nobody rightly signed may be the hub's fault: nothing goes on its account, and what it names stays."""
    ledger.withdraw("ours")
    index = ledger.purge("ours", A)
    file = FileEntry(path="f", digest=A, size=1)
    claim = Dataset.model_construct(signer=US, category="open", files=(file,))
    assert [digest for digest, _ in blobs_of(claim)] == [A]
    leaf = Leaf(envelope=C, id="x", kind="dataset", payload=B, signer=US, time="2026-01-01T00:00:00.000Z")
    assert ledger.holdings.purged == {A: index}
    ledger.holdings.name(leaf, claim)
    assert ledger.holdings.purged == {}
