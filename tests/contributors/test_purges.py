"""Withdrawn data is deleted at the hub, and whoever audits the ledger can tell that from data that was lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contributors.audit import Audited, audit
from contributors.client import Coalition
from contributors.home import Home
from contributors.mirror import mirror
from contributors.packing import pack_dataset
from contributors.sources import HubSource, MirrorSource, StoreSource
from contributors.trusted import Trusted
from protos.documents.statements import HUB
from protos.documents.submissions import Purge, Withdrawal
from tests.contributors.served import Hub, dataset
from tests.contributors.test_audit import Told
from tests.contributors.test_audit import told as told  # a fixture
from tests.contributors.witness.test_attachment import submit
from tests.hub.submissions.room import Room
from trust.digests import Digest
from trust.errors import NotFound


@pytest.fixture
def room(hub: Hub, tmp_path: Path) -> Iterator[Room]:
    room = Room.of(hub.base, tmp_path / "screening")
    yield room
    room.screener.stop()


def withdraw(client: Coalition, submission: str) -> int:
    claim = Withdrawal(hub=client.identity.hub, signer=client.identity.id, submission=submission)
    return client.withdraw(client.sign(claim)).receipt.index


def digest_of(client: Coalition, submission: str) -> Digest:
    return Digest(client.submission(submission).files[0].digest)


def audited(home: Home, client: Coalition) -> Audited:
    return audit(home, HubSource(client), Trusted.of(home))


def test_from_the_withdrawal_to_the_purge_and_back_everybody_sees_where_it_stands(
    hub: Hub, home: Home, client: Coalition, room: Room, tmp_path: Path
) -> None:
    submission = submit(client, tmp_path, category="open")
    kept = submit(client, tmp_path, category="open")
    with Coalition(hub.home("University")) as other:
        assert mirror(other, tmp_path / "mirror").purged == 0
        index = withdraw(client, submission)
        assert (client.submission(submission).state, client.submission(submission).withdrawn_index) == (
            "withdrawn",
            index,
        )
        room.age()
        room.purger().look()
        found = client.submission(submission)
        assert (found.state, found.purged_blobs, found.blobs, found.purged_index) == ("purged", 1, 1, index + 1)
        assert [each.state for each in client.submissions("dataset")] == ["purged", "accepted"]
        digest = digest_of(client, submission)
        with pytest.raises(NotFound, match="withdrawn with"):
            client.blob(digest)
        ours = audited(home, client)
        assert ours.holds, ours.verdict.problems
        assert ours.verdict.purged_blobs == 1
        again = mirror(other, tmp_path / "mirror")
        assert (again.purged, again.private) == (1, 0)
        copies = {path.name for path in (tmp_path / "mirror" / "blobs" / "sha256").glob("*/*")}
        assert digest.removeprefix("sha256:") not in copies
        assert digest_of(client, kept).removeprefix("sha256:") in copies
        theirs = audit(other.home, MirrorSource(tmp_path / "mirror"), Trusted.of(other.home))
        assert theirs.holds, theirs.verdict.problems
        assert (theirs.verdict.purged_blobs, theirs.verdict.absent_blobs) == (1, 0)


def test_what_is_purged_can_be_submitted_again_and_its_bytes_are_sent(
    hub: Hub, home: Home, client: Coalition, room: Room, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("A contract that comes back.")
    packed = pack_dataset(tmp_path / "text.txt", tmp_path / "packed")

    def send(name: str) -> tuple[str, int]:
        sent: list[int] = []
        accepted = client.submit(client.sign(dataset(client, packed, name=name)), packed.sources, sent.append)
        return accepted.id, sum(sent)

    first, size = send("first")
    withdraw(client, first)
    room.age()
    room.purger().look()
    assert not hub.base.blobs.has(digest_of(client, first))
    second, again = send("second")
    assert again == size > 0
    room.age()
    room.purger().look()
    assert client.blob(digest_of(client, second)) == packed.sources[digest_of(client, second)].path.read_bytes()
    found = audited(home, client)
    assert found.holds, found.verdict.problems
    assert found.verdict.purged_blobs == 0, "it is named again, and must be there"


def test_bytes_that_are_gone_before_the_ledger_says_so_are_missed(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    """Withdrawn is not purged: a hub that lost them cannot say afterwards that they were not needed."""
    submission = submit(client, tmp_path)
    withdraw(client, submission)
    digest = digest_of(client, submission)
    hub.base.blobs.path(digest).unlink()
    found = audited(home, client)
    assert not found.holds
    assert digest in found.verdict.problems[0]


def test_a_blob_whose_purge_waits_is_not_missed_and_not_held_against_the_hub(
    home: Home, client: Coalition, room: Room, tmp_path: Path
) -> None:
    """Fresh, or an open submission counts on it: it lies there until that is over."""
    withdraw(client, submit(client, tmp_path))
    assert room.purger().look().waiting != []
    assert audited(home, client).holds
    assert audit(home, StoreSource(room.base.directory), Trusted.of(home)).holds


def test_whether_a_blob_that_no_entry_names_is_here_tells_nobody(hub: Hub, client: Coalition) -> None:
    """The hub hashes for an auditor what the ledger names, and not what another member is just sending."""
    digest = hub.base.blobs.put(b"an upload of somebody else's")
    with pytest.raises(NotFound):
        client.blob_intact(digest)


def unchecked(told: Told, *kinds: str) -> None:
    """A hub that records what its own rules refuse."""
    for kind in kinds:
        told.history.base.journal._checks[kind] = []


def blob_of(told: Told, submission: str) -> Digest:
    claim = next(each.claim for each in told.audit().verdict.recorded if each.leaf.id == submission)
    return Digest(claim.files[0].digest)  # type: ignore[attr-defined]


def purge_unasked(told: Told, digest: Digest) -> None:
    """The hub says so, and deletes."""
    told.history.record(Purge(hub="europe", signer=HUB, submission=told.suite, blobs=(digest,)))
    told.history.base.blobs.path(digest).unlink()


def test_a_hub_that_purges_what_stands_is_caught(told: Told) -> None:
    digest = blob_of(told, told.suite)
    unchecked(told, "purge")
    purge_unasked(told, digest)
    found = told.audit()
    assert found.first == told.size - 1
    assert "was not withdrawn before it" in found.verdict.problems[0]
    assert any(digest in problem for problem in found.verdict.problems[1:])


def test_a_hub_that_lets_a_stranger_withdraw_is_caught_and_its_purge_counts_for_nothing(told: Told) -> None:
    digest = blob_of(told, told.suite)
    told.history.enrol("stranger", "contributor")
    unchecked(told, "withdrawal")
    told.history.record(Withdrawal(hub="europe", signer="stranger", submission=told.suite))
    purge_unasked(told, digest)
    found = told.audit()
    assert found.first == told.size - 2
    assert "which is author's" in found.verdict.problems[0]
    assert any(digest in problem for problem in found.verdict.problems[2:])


def test_a_mirror_drops_nothing_on_a_word_that_nobody_signed(
    hub: Hub, client: Coalition, room: Room, tmp_path: Path
) -> None:
    """Otherwise a hub could have members' copies deleted by a withdrawal that it made up."""
    submission = submit(client, tmp_path, category="open")
    digest = digest_of(client, submission)
    mirror(client, tmp_path / "mirror")
    stranger = hub.home("Stranger")
    hub.base.journal._checks["withdrawal"] = []
    with Coalition(stranger) as theirs:
        claim = Withdrawal(hub=theirs.identity.hub, signer=theirs.identity.id, submission=submission)
        hub.base.journal.record(theirs.sign(claim).envelope, theirs.identity.id)
    room.age()
    room.purger().look()
    assert not hub.base.blobs.has(digest)
    again = mirror(client, tmp_path / "mirror")
    assert again.purged == 0
    source = MirrorSource(tmp_path / "mirror")
    assert source.check_blob(digest) == "verified"
