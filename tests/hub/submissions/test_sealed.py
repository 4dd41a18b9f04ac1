"""A sealed suite: encrypted on its way to the disk, for its owner's and the hub's eyes only, and screened like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hub.callers import Caller
from hub.ledger.grants import grant, may_read, member_audience
from hub.ledger.service import BlobsService
from hub.submissions.intake import Intake
from hub.submissions.screening import suites
from hub.submissions.screening.contamination import Grams
from hub.submissions.screening.jobs import SuiteGrams, SuiteReading
from protos.documents.base import FileEntry
from protos.documents.submissions import Suite
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import CHOICE, suite_files
from tests.hub.submissions.test_intake import SHARD, intake, manifest, opened, upload
from trust.digests import digest_bytes
from trust.errors import Conflict, NotFound

__all__ = ["intake"]
FILES = suite_files(tasks=[{"name": "terms", "data": "terms.jsonl", **CHOICE}])


def claim(visibility: str = "sealed") -> Suite:
    entries = [FileEntry(path=path, digest=digest_bytes(body), size=len(body)) for path, body in FILES.items()]
    return Suite.read(
        {
            "hub": ORIGIN,
            "signer": "law-institute",
            "name": "law-exam",
            "version": "1",
            "domain": "law",
            "licence": "CC-BY-4.0",
            "visibility": visibility,
            "files": [entry.model_dump() for entry in entries],
        }
    )


def submit(intake: Intake, base: Base, visibility: str = "sealed") -> None:
    draft = opened(intake, base, claim(visibility))
    for digest, _ in intake.missing(draft):
        upload(intake, draft, next(body for body in FILES.values() if digest_bytes(body) == digest))
    intake.commit(draft)


def plain_hashes(folder: Path) -> list[bytes]:
    """Of the runs of words of the suite, as they would lie on the disk if nothing sealed them."""
    grams = SuiteGrams(id="suite-0", suite="law-exam", path=str(folder / "grams.npz"))
    suites.read(SuiteReading(id="suite-0", licence="CC-BY-4.0", files=(), grams=grams), FILES)
    return [each.tobytes() for each in Grams.load(Path(grams.path)).hashes]


def test_it_is_accepted_and_no_word_of_it_lies_on_the_disk(
    intake: Intake, base: Base, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    submit(intake, base)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"arteries" in path.read_bytes() for path in files)
    hashes = plain_hashes(tmp_path_factory.mktemp("plain"))
    assert hashes
    assert not any(each in path.read_bytes() for each in hashes for path in files), "a guess could be tried at them"
    for body in FILES.values():
        assert base.blobs.sealed(digest_bytes(body))
        assert base.blobs.read(digest_bytes(body)) == body


def test_only_its_owner_may_read_it(intake: Intake, base: Base) -> None:
    submit(intake, base)
    digest = digest_bytes(FILES["terms.jsonl"])
    with base.database.session() as session:
        assert may_read(session, digest, member="law-institute")
        assert not may_read(session, digest, member="university")
        assert not may_read(session, digest, node=True)


async def test_others_hear_the_same_as_of_a_blob_that_is_not_there(intake: Intake, base: Base) -> None:
    submit(intake, base)
    service = BlobsService(base.database, base.blobs)
    answers = []
    for digest in (digest_bytes(FILES["terms.jsonl"]), digest_bytes(b"never sent")):
        with pytest.raises(Exception, match="that you may read") as found:
            service._readable_size(digest, Caller("member", "university", "contributor"))
        answers.append((type(found.value), str(found.value).replace(digest, "")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("kinds", "reads"),
    [(None, True), ({"sealed"}, True), ({"suite", "sealed"}, True), ({"dataset", "suite"}, False)],
)
def test_its_owners_delegate_reads_it_only_where_the_delegation_says_so(
    intake: Intake, base: Base, kinds: set[str] | None, reads: bool
) -> None:
    submit(intake, base)
    log = base.blobs.put_sealed(b"what a model said")
    with base.database.session(writing=True) as session:
        grant(session, log, member_audience("law-institute"))
    service = BlobsService(base.database, base.blobs)
    who = Caller("member", "law-institute", "contributor", None if kinds is None else frozenset(kinds))
    for digest in (digest_bytes(FILES["terms.jsonl"]), log):
        if reads:
            assert service._readable_size(digest, who) == base.blobs.size(digest)
        else:
            with pytest.raises(NotFound, match="that you may read"):
                service._readable_size(digest, who)


@pytest.mark.parametrize("visibility", ["members", "hub"])
def test_naming_its_digests_does_not_unseal_it(intake: Intake, base: Base, visibility: str) -> None:
    """Its digests are in the ledger: a delegate that cannot read it could submit them once more, for everyone to read."""
    submit(intake, base)
    again = claim(visibility).model_copy(update={"version": "2"})
    assert {digest for digest, _ in intake.missing(opened(intake, base, again))} == set(
        map(digest_bytes, FILES.values())
    )


def test_an_upload_that_was_cut_begins_anew(intake: Intake, base: Base) -> None:
    draft = opened(intake, base, claim())
    body = FILES["terms.jsonl"]
    digest = digest_bytes(body)
    with intake.receive(draft, digest, 0) as incoming:
        incoming.write(body[:100])
        assert not incoming.finish()
    assert dict(intake.missing(draft))[digest] == 0
    assert upload(intake, draft, body)


def test_what_was_sent_before_unsealed_is_sent_again_to_be_sealed(intake: Intake, base: Base) -> None:
    submit(intake, base, "hub")
    later = claim().model_copy(update={"version": "2"})
    assert len(intake.missing(opened(intake, base, later))) == len(FILES)


def test_a_broken_one_is_refused_like_any_other(intake: Intake, base: Base) -> None:
    good = dict(FILES)
    FILES["terms.jsonl"] = b"[]\n"
    try:
        with pytest.raises(Conflict, match="rejected"):
            submit(intake, base)
    finally:
        FILES.update(good)


def test_its_hashes_are_made_anew_when_it_is_sealed_with_another_key(intake: Intake, base: Base) -> None:
    """As the operator guide says of a lost key: the sealed blobs are emptied, and the owner submits again."""
    signed = claim()
    for key in ("lost", "new"):
        draft = opened(intake, base, signed)
        for body in FILES.values():
            upload(intake, draft, body)
        intake.commit(draft)
        if key == "lost":
            shutil.rmtree(base.directory / "blobs" / "sealed")
            (base.directory / "blobs" / "seal.key").unlink()
    draft = opened(intake, base, manifest("university"))
    upload(intake, draft, SHARD)
    assert intake.commit(draft).kind == "dataset"


def test_datasets_are_compared_with_it(intake: Intake, base: Base) -> None:
    """Screening reads sealed suites through the same paths as others."""
    submit(intake, base)
    items = [json.loads(line)["text"] for line in FILES["terms.jsonl"].splitlines()]
    shard = "".join(json.dumps({"text": f"Read this: {item}"}) + "\n" for item in items).encode()
    draft = opened(intake, base, manifest("university", shard, len(items)))
    upload(intake, draft, shard)
    told = {finding.rule: finding.message for finding in intake.findings(intake.commit(draft).id)}
    assert told["contamination"].startswith("Overlaps with the suite law-institute/law-exam 1: ")
    assert "rows" not in told["contamination"]
