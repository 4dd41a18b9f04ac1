"""A member's calls to a hub on real TLS: submissions that survive cuts, receipts that are checked before they are kept."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from contributors import calling
from contributors.client import Coalition
from contributors.home import Home
from contributors.packing import Packed, pack_dataset
from contributors.receipts import keep_receipt, kept_receipt
from protos.coalition.v1 import common_pb2, submissions_pb2
from tests.contributors.served import Hub, dataset, flip
from trust.digests import digest_bytes
from trust.errors import Corrupt, Denied, Invalid, NotFound, Problem, Unavailable


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    (tmp_path / "text.txt").write_text("".join(f"Clause {i} of a long contract. " for i in range(120_000)))
    return pack_dataset(tmp_path / "text.txt", tmp_path / "packed")


def test_a_submission_arrives_and_its_receipt_verifies_offline(
    hub: Hub, client: Coalition, home: Home, packed: Packed
) -> None:
    seen: list[int] = []
    statement = client.sign(dataset(client, packed))
    accepted = client.submit(statement, packed.sources, seen.append)
    assert (accepted.state, accepted.rows, accepted.member) == ("accepted", 1, "law-institute")
    assert sum(seen) == packed.size
    keep_receipt(home, accepted.id, accepted.receipt, statement.envelope)
    hub.stop()
    kept = kept_receipt(home, accepted.id)
    assert (kept.leaf.id, kept.index) == (accepted.id, 1)
    hub.start()


def test_a_listing_comes_in_pages_and_whole(client: Coalition, tmp_path: Path) -> None:
    identifiers = [small(client, tmp_path, f"text-{number}").id for number in range(5)]
    asked: list[str] = []
    method = client._submissions.ListSubmissions

    def ask(request: submissions_pb2.ListSubmissionsRequest, timeout: float) -> Any:
        request.page_size = 2
        asked.append(request.page_token)
        return method(request, timeout=timeout)

    client._submissions.ListSubmissions = ask  # type: ignore[assignment]
    assert [each.id for each in client.each_submission("dataset")] == identifiers
    assert (len(asked), asked[0]) == (3, "")
    assert next(client.each_submission("dataset")).id == identifiers[0]
    assert len(asked) == 4  # the pages that nobody asks for are not fetched


@pytest.mark.parametrize("token", ["x", "-1", "9" * 30, "\u0663"])
def test_an_invented_page_token_is_refused(client: Coalition, token: str) -> None:
    request = submissions_pb2.ListSubmissionsRequest(page_token=token)
    with pytest.raises(Invalid, match="no page token"):
        calling.call(client._submissions.ListSubmissions, request)


def small(client: Coalition, folder: Path, name: str) -> submissions_pb2.Submission:
    (folder / f"{name}.txt").write_text(f"A contract about {name}.")
    found = pack_dataset(folder / f"{name}.txt", folder / name)
    return client.submit(client.sign(dataset(client, found, name=name)), found.sources, lambda n: None)


def test_submitting_again_is_the_same_submission(hub: Hub, client: Coalition, packed: Packed) -> None:
    first = client.submit(client.sign(dataset(client, packed)), packed.sources, lambda n: None)
    again = client.submit(client.sign(dataset(client, packed)), packed.sources, lambda n: None)
    assert again.id == first.id
    assert hub.base.log.size == 2


def test_an_upload_goes_on_after_the_hub_was_away(hub: Hub, client: Coalition, packed: Packed) -> None:
    """The hub stops in the middle of an upload and comes back; what it has is not sent again, progress never runs back."""
    seen: list[int] = []
    cut = threading.Event()

    def advance(count: int) -> None:
        seen.append(count)
        if sum(seen) > 1 << 20 and not cut.is_set():
            cut.set()
            hub.stop()
            hub.start()

    accepted = client.submit(client.sign(dataset(client, packed)), packed.sources, advance)
    assert cut.is_set()
    assert accepted.state == "accepted"
    assert sum(seen) == packed.size
    assert min(seen) > 0


def test_a_rejected_submission_says_why(client: Coalition, packed: Packed) -> None:
    with pytest.raises(Invalid, match="not an SPDX licence"):
        client.submit(client.sign(dataset(client, packed, licence="my-own")), packed.sources, lambda n: None)


def test_a_viewer_may_not_submit(hub: Hub, packed: Packed) -> None:
    with Coalition(hub.home("Public Viewer", "viewer")) as viewer, pytest.raises(Denied, match="viewer may not"):
        viewer.submit(viewer.sign(dataset(viewer, packed)), packed.sources, lambda n: None)


def test_a_hub_that_is_not_there_is_told_at_once(
    hub: Hub, client: Coalition, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "PAUSES", (1000,))
    statement = client.sign(dataset(client, packed))
    hub.stop()
    with pytest.raises(Unavailable, match="cannot be reached"):
        client.submit(statement, packed.sources, lambda n: None)
    hub.start()


def test_whoami_is_what_the_certificate_says(hub: Hub, client: Coalition) -> None:
    me = client.whoami()
    assert (me.id, me.organisation, me.role) == ("law-institute", "Law Institute", "contributor")
    with Coalition(hub.home("University")) as other:
        assert [member.id for member in other.members()] == ["law-institute", "university"]


def test_a_receipt_of_something_else_is_not_kept(hub: Hub, client: Coalition, home: Home, packed: Packed) -> None:
    statement = client.sign(dataset(client, packed))
    accepted = client.submit(statement, packed.sources, lambda n: None)
    with pytest.raises(Corrupt, match="not of what we sent"):
        keep_receipt(home, accepted.id, client.receipt("0"), statement.envelope)
    assert not home.receipt_path(accepted.id).exists()


@pytest.mark.parametrize("part", ["leaf", "proof"])
def test_a_kept_receipt_fails_after_any_change(hub: Hub, client: Coalition, home: Home, part: str) -> None:
    hub.home("University")
    receipt = client.receipt("university")
    keep_receipt(home, "university", receipt)
    path = home.receipt_path("university")
    path = path if part == "proof" else path.with_name("university.leaf")
    whole = path.read_bytes()
    for position in range(len(whole)):
        flip(path, position)
        with pytest.raises(Problem):
            kept_receipt(home, "university")
        path.write_bytes(whole)


def test_a_hub_that_shows_another_tree_of_the_same_size_is_caught(hub: Hub, client: Coalition, home: Home) -> None:
    from trust.merkle import leaf_hash
    from trust.notes import TreeHead, sign_tree_head

    home.remember_head(sign_tree_head(TreeHead(client.identity.hub, 1, leaf_hash(b"other")), hub.base.log_key))
    with pytest.raises(Corrupt, match="another ledger"):
        keep_receipt(home, "law-institute", client.receipt("law-institute"))


def test_receipts_are_found_by_number_and_by_name(client: Coalition) -> None:
    assert client.receipt("0").leaf == client.receipt("law-institute").leaf
    with pytest.raises(NotFound):
        client.receipt("run-000000000000")


def test_a_file_outside_the_folder_is_never_written(client: Coalition, tmp_path: Path) -> None:
    for path in ("../escape", "/etc/passwd", "a/../../b"):
        with pytest.raises(Invalid):
            client.download(common_pb2.File(path=path, digest=digest_bytes(b"x"), size=1), tmp_path / "folder")
    with pytest.raises(Invalid):
        client.download(common_pb2.File(path="file", digest="sha256:../../x", size=1), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_watch_is_taken_up_after_cuts_and_ends_with_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a source of events that ends its stream twice before it is over, once with an error and once without."""
    import grpc

    monkeypatch.setattr(calling, "PAUSES", (0, 0))

    class Away(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "away"

        def trailing_metadata(self) -> None:
            return None

    asked: list[int] = []

    def events(request: common_pb2.WatchRequest, timeout: float) -> Any:
        asked.append(request.after)
        yield common_pb2.ProgressEvent(sequence=request.after + 1, terminal=request.after == 2)
        if request.after == 0:
            raise Away

    found = list(calling.watched(events, "run-1"))
    assert [event.sequence for event in found] == [1, 2, 3]
    assert asked == [0, 1, 2]

    def never(request: common_pb2.WatchRequest, timeout: float) -> Any:
        raise Away
        yield

    with pytest.raises(Unavailable):
        list(calling.watched(never, "run-1"))
