"""The whole ledger, verified over the wire and from a hub's files: whatever is changed is found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from contributors.client import Coalition
from contributors.home import Home
from contributors.ledger import Verdict, verify_ledger
from contributors.packing import pack_dataset
from contributors.seen import Head, Seen
from contributors.sources import HubSource, StoreSource
from protos.documents import statements
from protos.documents.base import now
from protos.documents.leaf import Leaf
from protos.documents.members import Delegation, Member
from protos.documents.runs import Stop
from tests.contributors.served import Hub, dataset, flip
from tests.hub.conftest import ORIGIN
from trust.digests import Digest, digest_bytes, hex_of
from trust.errors import Corrupt, Denied, Problem
from trust.keys import ArtifactKey, LogKey
from trust.notes import TreeHead, sign_tree_head
from trust.statements import payload_digest


@pytest.fixture
def told(hub: Hub, client: Coalition, tmp_path: Path) -> Hub:
    """A hub whose ledger holds members and a dataset."""
    (tmp_path / "text.txt").write_text("A contract.")
    packed = pack_dataset(tmp_path / "text.txt", tmp_path / "packed")
    client.submit(client.sign(dataset(client, packed)), packed.sources, lambda n: None)
    hub.home("University")
    return hub


def check(source: HubSource | StoreSource, home: Home, *known: TreeHead) -> Verdict:
    seen = Seen(tuple(Head(b"", head, "the head of before") for head in known))
    return verify_ledger(source, home.ledger_key(), home.statement_key(), seen)


def store(hub: Hub) -> StoreSource:
    return StoreSource(hub.base.directory)


def blob_path(hub: Hub, digest: str) -> Path:
    name = hex_of(Digest(digest))
    return hub.base.directory / "blobs" / "sha256" / name[:2] / name


def test_an_honest_ledger_verifies_both_ways(told: Hub, client: Coalition, home: Home) -> None:
    over_wire, offline = check(HubSource(client), home), check(store(told), home)
    assert over_wire.problems == offline.problems == []
    assert over_wire.entries == offline.entries == 3
    assert over_wire.head == offline.head
    assert over_wire.verified_blobs == 1
    assert offline.verified_blobs == 4  # the file and the three envelopes
    assert check(store(told), home, over_wire.head).problems == []


def test_blobs_that_we_may_not_read_are_vouched_for_by_the_hub_and_counted_apart(told: Hub) -> None:
    other = told.home("Third Party")
    with Coalition(other) as client:
        verdict = check(HubSource(client), other)
    assert (verdict.verified_blobs, verdict.vouched_blobs, verdict.problems) == (0, 1, [])


def test_a_changed_blob_is_named_with_the_entry_that_names_it(told: Hub, client: Coalition, home: Home) -> None:
    file = next(s for s in client.submissions("dataset")).files[0]
    flip(blob_path(told, file.digest), 3)
    for source in (store(told), HubSource(client)):
        (problem,) = check(source, home).problems
        assert "was changed" in problem
        assert f"entry 1 names it as {file.path}" in problem
    assert not blob_path(told, file.digest).exists(), "the hub has set it aside"
    (problem,) = check(store(told), home).problems
    assert "missing" in problem
    (problem,) = check(HubSource(client), home).problems
    assert file.digest in problem


def test_any_byte_of_any_file_of_the_ledger_matters(told: Hub, home: Home) -> None:
    files = sorted(path for path in (told.base.directory / "ledger").rglob("[!.]*") if path.is_file())
    assert len(files) >= 3
    for path in files:
        whole = path.read_bytes()
        for position in sorted(random.Random(1).sample(range(len(whole)), min(40, len(whole)))):
            flip(path, position)
            try:
                found = check(store(told), home).problems
            except Problem as problem:
                found = [problem.what]
            path.write_bytes(whole)
            assert found, f"byte {position} of {path.name}"
    assert check(store(told), home).problems == []


def test_any_byte_of_any_blob_matters_also_of_one_that_nothing_names(told: Hub, home: Home) -> None:
    told.base.blobs.put(b"left behind")
    for path in sorted((told.base.directory / "blobs" / "sha256").rglob("*")):
        if path.is_file():
            whole = path.read_bytes()
            flip(path, len(whole) // 2)
            assert check(store(told), home).problems
            path.write_bytes(whole)
    assert check(store(told), home).problems == []


def test_a_ledger_that_was_rewritten_or_shrank_is_refused(told: Hub, home: Home) -> None:
    head = check(store(told), home).head
    with pytest.raises(Corrupt, match="rewritten"):
        check(store(told), home, TreeHead(head.origin, head.size - 1, b"\0" * 32))
    larger = TreeHead(head.origin, head.size + 1, b"\0" * 32)
    with pytest.raises(Corrupt, match="shrank"), Coalition(home) as client:
        check(HubSource(client), home, larger)
    (note,) = check(store(told), home, larger).notes
    assert "older than what you have seen" in note  # of files, that says nothing


def test_another_logs_key_does_not_pass(told: Hub, home: Home) -> None:
    checkpoint = told.base.directory / "ledger" / "checkpoint"
    head = check(store(told), home).head
    checkpoint.write_bytes(sign_tree_head(head, LogKey.generate(ORIGIN)))
    with pytest.raises(Denied):
        check(store(told), home)


def forge(hub: Hub, envelope: bytes, signer: str, kind: str = "", time: str = "2026-11-23T12:00:00.000Z") -> str:
    """What a dishonest hub can do: put any envelope into its own log, with a leaf that fits. Its identifier."""
    payload = payload_digest(envelope)
    identifier = f"{kind}-{hex_of(payload)[:12]}" if kind else statements.read(envelope).id
    leaf = Leaf(
        envelope=hub.base.blobs.put(envelope),
        id=identifier,
        kind=kind or statements.read(envelope).kind,
        payload=payload,
        signer=signer,
        time=time,
    )
    hub.base.log.append([leaf.encode()])
    return identifier


def problem(hub: Hub, home: Home) -> str:
    (found,) = check(store(hub), home).problems
    return found


def stop(signer: str, hub: str = ORIGIN) -> Stop:
    return Stop(hub=hub, signer=signer, target="run-0123456789ab")


def member(signer: str, name: str, key: ArtifactKey) -> Member:
    return Member(
        hub=ORIGIN,
        signer=signer,
        member=name,
        organisation="X",
        role="core",
        artifact_key=key.public.pem().decode(),
    )


def test_a_statement_that_its_signer_did_not_sign(told: Hub, home: Home) -> None:
    forge(told, statements.sign(dataset_of(told), ArtifactKey.generate()), "university")
    assert "no valid signature" in problem(told, home)


def dataset_of(hub: Hub) -> statements.Claim:
    from protos.documents.submissions import Dataset

    return Dataset.read(
        {
            "hub": ORIGIN,
            "signer": "university",
            "name": "forged",
            "domain": "law",
            "licence": "MIT",
            "provenance": "x",
            "rows": 1,
            "files": [{"path": "a.jsonl", "digest": hub.base.blobs.put(b"{}"), "size": 2, "rows": 1}],
        }
    )


def test_a_contributor_that_says_what_only_the_core_may(told: Hub, home: Home) -> None:
    forge(told, statements.sign(stop("law-institute"), home.artifact_key()), "law-institute")
    assert "a contributor signs no stop" in problem(told, home)


def test_a_member_that_introduces_members(told: Hub, home: Home) -> None:
    """Otherwise one forged introduction would let a hub speak for anybody."""
    key = ArtifactKey.generate()
    forge(told, statements.sign(member("law-institute", "ghost", key), home.artifact_key()), "law-institute")
    assert "signed a member, which is not for it to say" in problem(told, home)


def test_a_hub_that_speaks_for_members(told: Hub, home: Home) -> None:
    forge(told, statements.sign(stop("hub"), told.base.hub_key), "hub")
    assert "not for it to say" in problem(told, home)


def test_a_member_whose_key_is_replaced(told: Hub, home: Home) -> None:
    forge(told, statements.sign(member("hub", "university", ArtifactKey.generate()), told.base.hub_key), "hub")
    assert "introduced a second time" in problem(told, home)


def test_a_signer_that_was_never_introduced(told: Hub, home: Home) -> None:
    forge(told, statements.sign(stop("ghost"), ArtifactKey.generate()), "ghost")
    assert "before being a member" in problem(told, home)


def test_a_statement_for_another_hub(told: Hub, home: Home) -> None:
    forge(told, statements.sign(stop("law-institute", "other-hub"), home.artifact_key()), "law-institute")
    assert "does not match its statement" in problem(told, home)


def test_a_replay(told: Hub, client: Coalition, home: Home) -> None:
    envelope = told.base.blobs.read(Digest(client.entries(1, 1)[0].envelope))
    forge(told, envelope, "law-institute")
    assert "recorded a second time" in problem(told, home)


@pytest.mark.parametrize(
    ("expires", "time"), [("2026-02-31T00:00:00Z", "2026-01-01T00:00:00.000Z"), ("2027-01-01T00:00:00Z", "yesterday")]
)
def test_an_entry_that_makes_no_sense_is_reported_and_stops_nothing(
    told: Hub, home: Home, expires: str, time: str
) -> None:
    """A delegation until a day that does not exist, or a hub that records at no time; and what was said under it."""
    robot = ArtifactKey.generate()
    delegation = Delegation.model_construct(
        hub=ORIGIN,
        signer="law-institute",
        issued_at=now(),
        delegation=None,
        name="robot",
        key=robot.public.pem().decode(),
        kinds=("dataset",),
        budget=3,
        expires_at=expires,
    )
    made = forge(told, statements.sign(delegation, home.artifact_key(), robot), "law-institute", "delegation")
    said = dataset_of(told).model_copy(update={"signer": "law-institute", "delegation": made})
    forge(told, statements.sign(said, robot), "law-institute", time=time)
    verdict = check(store(told), home)
    assert verdict.problems[-1].startswith(f"Entry {verdict.head.size - 1}: ")
    assert all(problem.startswith("Entry ") for problem in verdict.problems)
    assert verdict.entries + len(verdict.problems) == verdict.head.size


def test_an_entry_that_is_no_leaf(told: Hub, home: Home) -> None:
    told.base.log.append([b"anything", digest_bytes(b"x").encode()])
    assert len(check(store(told), home).problems) == 2
