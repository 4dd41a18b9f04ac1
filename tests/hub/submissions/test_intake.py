"""A submission is recorded whole or not at all; bytes are shown, not named; screening says why it refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Never

import pytest
from sqlmodel import delete

from hub.ledger.entries import Entry
from hub.ledger.grants import may_read
from hub.settings import ScreeningPolicy
from hub.submissions import catalogue
from hub.submissions.examination import Examination
from hub.submissions.intake import Draft, Intake
from hub.submissions.policy import DEFAULT, Policy
from hub.submissions.quotas import Quota
from hub.submissions.screening.datasets import Advance
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import Job
from hub.submissions.screening.screener import Screener
from hub.submissions.screening.worker import screen
from hub.submissions.tables import FindingRow
from protos.documents import suite_files as parsing
from protos.documents.base import FileEntry
from protos.documents.members import Revocation
from protos.documents.placing import Place
from protos.documents.statements import sign
from protos.documents.submissions import Dataset, DatasetFile, Suite, SuiteVisibility
from tests.hub.conftest import ORIGIN, Base
from trust.digests import Digest, digest_bytes
from trust.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable

TEXTS = [
    f"The contract number {i} binds both parties until one of them terminates it in writing, however late."
    for i in range(5)
]
SHARD = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


def manifest(signer: str, shard: bytes = SHARD, rows: int = 5, **changes: object) -> Dataset:
    file = DatasetFile(path="data.jsonl", digest=digest_bytes(shard), size=len(shard), rows=rows)
    values = {
        "hub": ORIGIN,
        "signer": signer,
        "name": "contracts",
        "domain": "law",
        "licence": "CC-BY-4.0",
        "provenance": "own archive",
        "rows": rows,
        "files": (file,),
    }
    return Dataset(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def intake(base: Base, tmp_path: Path) -> Iterator[Intake]:
    base.enrol("law-institute")
    base.enrol("university")
    screener = Screener(tmp_path / "screening", run=screen)
    yield Intake(base.database, base.blobs, base.journal, Examination(base.database, base.blobs, screener))
    screener.stop()


def opened(intake: Intake, base: Base, claim: Dataset | Suite) -> Draft:
    draft = intake.open(sign(claim, base.keys[claim.signer]), claim.signer)
    assert isinstance(draft, Draft)
    return draft


def upload(intake: Intake, draft: Draft, data: bytes, offset: int = 0) -> bool:
    digest = digest_bytes(data)
    with intake.receive(draft, digest, offset) as incoming:
        incoming.write(data[offset:])
        return incoming.finish()


def submit(intake: Intake, base: Base, claim: Dataset | Suite, *files: bytes) -> Entry:
    draft = opened(intake, base, claim)
    for data in files:
        upload(intake, draft, data)
    return intake.commit(draft)


def test_a_whole_submission_is_recorded_and_readable_by_its_owner_and_nodes(intake: Intake, base: Base) -> None:
    entry = submit(intake, base, manifest("law-institute"), SHARD)
    digest = digest_bytes(SHARD)
    with base.database.session() as session:
        assert may_read(session, digest, member="law-institute")
        assert may_read(session, digest, node=True)
        assert not may_read(session, digest, member="university")
    assert entry.kind == "dataset"
    found = {finding.rule: finding.severity for finding in intake.findings(entry.id)}
    assert (found["schema"], found["contamination"]) == ("info", "info")


def test_an_upload_that_was_cut_resumes_where_it_stopped(intake: Intake, base: Base) -> None:
    draft = opened(intake, base, manifest("law-institute"))
    digest = digest_bytes(SHARD)
    with intake.receive(draft, digest, 0) as incoming:
        incoming.write(SHARD[:100])
    assert intake.missing(draft) == [(digest, 100)]
    with pytest.raises(Conflict, match="stands at byte 100"):
        intake.receive(draft, digest, 0)
    assert upload(intake, draft, SHARD, offset=100)
    assert intake.commit(draft).id == draft.id


def test_wrong_bytes_are_refused_and_forgotten(intake: Intake, base: Base) -> None:
    draft = opened(intake, base, manifest("law-institute"))
    digest = digest_bytes(SHARD)
    with intake.receive(draft, digest, 0) as incoming:
        incoming.write(b"x" * len(SHARD))
        with pytest.raises(Corrupt):
            incoming.finish()
    assert intake.missing(draft) == [(digest, 0)]
    with pytest.raises(Conflict, match="missing"):
        intake.commit(draft)


def test_naming_anothers_blob_does_not_open_it(intake: Intake, base: Base) -> None:
    """The hub has the bytes already, but the second member must show them all the same."""
    submit(intake, base, manifest("law-institute"), SHARD)
    thief = opened(intake, base, manifest("university"))
    assert intake.missing(thief) == [(digest_bytes(SHARD), 0)]
    with pytest.raises(Conflict, match="missing"):
        intake.commit(thief)
    upload(intake, thief, SHARD)
    assert intake.commit(thief).signer == "university"


def test_a_manifest_does_not_lie_about_the_size_of_what_need_not_be_sent(intake: Intake, base: Base) -> None:
    """Nodes would fetch so many bytes, and the quota count them."""
    submit(intake, base, manifest("law-institute"), SHARD)
    file = DatasetFile(path="data.jsonl", digest=digest_bytes(SHARD), size=7, rows=5)
    again = opened(intake, base, manifest("law-institute", name="shorter", files=(file,)))
    assert intake.missing(again) == []
    with pytest.raises(Invalid, match=f"has {len(SHARD)} bytes, and the manifest says 7"):
        intake.commit(again)


def test_the_same_bytes_have_one_size() -> None:
    whole, short = (
        DatasetFile(path=f"{size}.jsonl", digest=digest_bytes(SHARD), size=size, rows=5) for size in (len(SHARD), 7)
    )
    with pytest.raises(ValueError, match="another file with its digest"):
        manifest("law-institute", rows=10, files=(whole, short))


def test_a_draft_is_its_owners_alone(intake: Intake, base: Base) -> None:
    draft = opened(intake, base, manifest("law-institute"))
    with pytest.raises(NotFound):
        intake.draft(draft.id, "university")
    with pytest.raises(NotFound):
        intake.receive(draft, Digest("sha256:" + "0" * 64), 0)


@pytest.mark.parametrize(
    ("shard", "changes", "reason"),
    [
        (SHARD + b"not json\n", {"rows": 6}, "line 6: the line is not JSON"),
        (SHARD + b'{"title": "no text"}\n', {"rows": 6}, "line 6: the row has no `text`"),
        (SHARD, {"rows": 4}, "has 5 rows"),
        (SHARD * 3, {"rows": 15}, "10 of 15 rows repeat"),
    ],
)
def test_screening_refuses_with_the_reason(
    intake: Intake, base: Base, shard: bytes, changes: dict[str, object], reason: str
) -> None:
    rows = changes.get("rows", 5)
    assert isinstance(rows, int)
    claim = manifest("law-institute", shard, **{**changes, "rows": rows})  # type: ignore[arg-type]
    draft = opened(intake, base, claim)
    upload(intake, draft, shard)
    size = base.log.size
    with pytest.raises(Conflict, match=reason):
        intake.commit(draft)
    assert base.log.size == size
    assert intake.draft(draft.id, "law-institute").state == "rejected"


@pytest.mark.parametrize(
    ("changes", "policy", "reason"),
    [
        ({"licence": "Do what you want"}, DEFAULT, "not an SPDX licence expression"),
        ({"licence": "CC-BY-NC-4.0"}, DEFAULT, "does not take the licence CC-BY-NC-4.0"),
        ({"licence": "LicenseRef-Ours"}, DEFAULT, "stands in no list"),
        ({"jurisdiction": ("NL",)}, DEFAULT, "may be in NL alone, not at the hub here .which states no country"),
        (
            {"jurisdiction": ("NL", "EEA")},
            Policy(Place("hub", "far", "US"), DEFAULT.licences),
            "not at the hub far .in US",
        ),
    ],
)
def test_what_the_hub_does_not_take_is_refused_before_a_byte_of_it_comes(
    base: Base, intake: Intake, changes: dict[str, object], policy: Policy, reason: str
) -> None:
    claim = manifest("law-institute", **changes)  # type: ignore[arg-type]
    strict = Intake(base.database, base.blobs, base.journal, intake._examination, policy)
    with pytest.raises(Invalid, match=reason):
        strict.open(sign(claim, base.keys["law-institute"]), "law-institute")
    assert not strict.drafts("law-institute")


def test_data_of_a_jurisdiction_comes_to_a_hub_that_stands_there(base: Base, intake: Intake) -> None:
    policy = Policy(Place("hub", "here", "NL"), DEFAULT.licences)
    dutch = Intake(base.database, base.blobs, base.journal, intake._examination, policy)
    assert submit(dutch, base, manifest("law-institute", jurisdiction=("EU",)), SHARD).kind == "dataset"


@pytest.mark.parametrize("category", ["private", "sovereign"])
def test_data_that_stays_at_home_is_recorded_by_its_manifest_alone(base: Base, intake: Intake, category: str) -> None:
    """No byte is asked for, none is taken, and nobody may read what is not there; the manifest is in the ledger."""
    claim = manifest("law-institute", category=category, jurisdiction=("NL",))
    draft = opened(intake, base, claim)
    assert intake.missing(draft) == []
    with pytest.raises(NotFound, match="sends no file"):
        intake.receive(draft, digest_bytes(SHARD), 0)
    entry = intake.commit(draft)
    assert not base.blobs.has(digest_bytes(SHARD))
    with base.database.session() as session:
        assert not may_read(session, digest_bytes(SHARD), member="law-institute", node=True)
        with pytest.raises(Invalid, match=f"{entry.id} is {category}: it stays at law-institute's site"):
            catalogue.for_run(session, [entry.id])
        assert catalogue.for_run(session, []) == []
    text = submit(intake, base, manifest("law-institute", name="again"), SHARD)
    assert intake.findings(text.id), "screening went past the private dataset"


def test_a_run_trains_on_what_stood_when_it_was_launched(base: Base, intake: Intake) -> None:
    first = submit(intake, base, manifest("law-institute"), SHARD)
    launched = base.log.size
    submit(intake, base, manifest("law-institute", name="later"), SHARD)
    with base.database.session() as session:
        assert [dataset.id for dataset in catalogue.for_run(session, [], launched)] == [first.id]


def suite_files(text: str) -> dict[str, bytes]:
    suite = {
        "format": "coalition-suite/v1",
        "name": "law-exam",
        "version": "1",
        "domain": "law",
        "licence": "CC-BY-4.0",
        "description": "Held-out contracts.",
        "tasks": [{"name": "reading", "kind": "perplexity", "data": "reading.jsonl"}],
    }
    return {"suite.json": json.dumps(suite).encode(), "reading.jsonl": json.dumps({"text": text}).encode()}


def suite(signer: str, files: dict[str, bytes]) -> Suite:
    entries = tuple(FileEntry(path=path, digest=digest_bytes(data), size=len(data)) for path, data in files.items())
    return Suite(
        hub=ORIGIN, signer=signer, name="law-exam", version="1", domain="law", licence="CC-BY-4.0", files=entries
    )


def test_overlap_between_data_and_suites_is_told_in_both_directions(intake: Intake, base: Base) -> None:
    """Of a dataset that the suite's owner may read: of another, one item says nothing."""
    submit(intake, base, manifest("law-institute", name="closed"), SHARD)
    files = suite_files(TEXTS[2].upper())
    entry = submit(intake, base, suite("law-institute", files), *files.values())
    assert ("contamination", "warning") in {(f.rule, f.severity) for f in intake.findings(entry.id)}, "its own"
    entry = submit(intake, base, suite("university", files).model_copy(update={"version": "0"}), *files.values())
    assert ("contamination", "info") in {(f.rule, f.severity) for f in intake.findings(entry.id)}, "another's, closed"
    submit(intake, base, manifest("law-institute", category="open"), SHARD)
    entry = submit(intake, base, suite("university", files), *files.values())
    assert ("contamination", "warning") in {(f.rule, f.severity) for f in intake.findings(entry.id)}
    assert intake.suite_tasks(suite("university", files).files) == ["reading"]
    later = submit(intake, base, manifest("law-institute", name="contracts-2", provenance="again"), SHARD)
    told = {f.rule: f.message for f in intake.findings(later.id)}
    assert "Overlaps with the suite university/law-exam 1" in told["contamination"]
    assert "5 of 5 rows stand, equal or nearly so, in your earlier datasets" in told["duplicates-accepted"]


def test_a_suite_and_a_dataset_that_are_screened_at_once_are_compared_all_the_same(base: Base, tmp_path: Path) -> None:
    """Neither is in the ledger while the other is looked at; the later one to be recorded is compared with the other then."""
    for member in ("law-institute", "university"):
        base.enrol(member)
    both = threading.Barrier(2)
    begun: list[str] = []

    def run(job: Job, advance: Advance) -> list[Finding]:
        begun.append(job.id)
        findings = screen(job, advance)
        if len(begun) <= 2:
            both.wait(60)
        return findings

    screener = Screener(tmp_path / "screening", run=run)
    intake = Intake(base.database, base.blobs, base.journal, Examination(base.database, base.blobs, screener))
    files = suite_files(TEXTS[2])
    drafts = [
        opened(intake, base, manifest("law-institute", category="open")),
        opened(intake, base, suite("university", files)),
    ]
    for data in (SHARD, *files.values()):
        upload(intake, drafts[data != SHARD], data)
    entries = [future.result(60) for future in [intake.start(draft) for draft in drafts]]
    screener.stop()
    later = max(entries, key=lambda entry: entry.index)
    told = [finding.message for finding in intake.findings(later.id) if finding.rule == "contamination"]
    assert len(told) == 1
    assert told[0].startswith("Overlaps with the")
    assert begun.count(later.id) == 2
    assert len(begun) == 3


def test_what_a_stolen_key_submitted_holds_up_no_later_screening(intake: Intake, base: Base) -> None:
    """A quarantined suite is compared with nothing, and nobody waits until it is."""
    files = suite_files(TEXTS[2])
    forged = submit(intake, base, suite("university", files), *files.values())
    base.enrol("core-team", "core")
    theft = {"hub": ORIGIN, "signer": "core-team", "member": "university", "compromised_since": forged.index}
    base.record(Revocation.read({**theft, "reason": "stolen"}))
    draft = opened(intake, base, manifest("law-institute"))
    upload(intake, draft, SHARD)
    entry = intake.start(draft).result(60)
    told = {finding.rule: finding.message for finding in intake.findings(entry.id)}
    assert told["contamination"].startswith("No overlap")


def test_a_suite_is_parsed_in_a_process_of_its_own_alone(
    intake: Intake, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a member wrote neither fills the hub's memory nor meets its keys: not when it comes, nor when it is asked for, nor
    when its runs of words are needed again."""

    def parse(*_: object) -> Never:
        raise AssertionError("parsed in the hub's process")

    monkeypatch.setattr(parsing, "all_rows", parse)
    monkeypatch.setattr(parsing, "_json_lines", parse)
    files = suite_files(TEXTS[2])
    entry = submit(intake, base, suite("university", files), *files.values())
    assert "1 tasks with 1 rows read." in {finding.message for finding in intake.findings(entry.id)}
    for grams in (tmp_path / "screening/suites").iterdir():
        grams.unlink()
    dataset = submit(intake, base, manifest("law-institute"), SHARD)
    assert "Overlaps with the suite" in {f.rule: f.message for f in intake.findings(dataset.id)}["contamination"]
    base.blobs.path(digest_bytes(files["reading.jsonl"])).unlink()
    assert intake.suite_tasks(suite("university", files).files) == ["reading"]


def test_a_suite_that_is_too_large_is_refused_before_a_byte_of_it_comes(intake: Intake, base: Base) -> None:
    large = FileEntry(path="reading.jsonl", digest=digest_bytes(SHARD), size=parsing.MAX_SUITE)
    form = FileEntry(path="suite.json", digest=digest_bytes(b"{}"), size=2)
    claim = suite("university", suite_files("A text.")).model_copy(update={"files": (large, form)})
    with pytest.raises(Invalid, match=f"has {parsing.MAX_SUITE + 2} bytes; {parsing.MAX_SUITE} are allowed"):
        opened(intake, base, claim)


def test_a_disk_that_is_full_while_a_suite_is_screened_leaves_it_open(
    intake: Intake, base: Base, tmp_path: Path
) -> None:
    files = suite_files("A text.")
    draft = opened(intake, base, suite("university", files))
    for data in files.values():
        upload(intake, draft, data)
    (tmp_path / "screening/suites").write_text("no folder can be made here")
    with pytest.raises(Unavailable, match="an error of its own"):
        intake.commit(draft)
    assert intake.draft(draft.id, "university").state == "open"
    (tmp_path / "screening/suites").unlink()
    assert intake.commit(draft).id == draft.id


def test_a_suite_outside_its_schema_is_refused(intake: Intake, base: Base) -> None:
    files = suite_files("A text.")
    files["suite.json"] = files["suite.json"].replace(b'"reading.jsonl"', b'"../../etc/passwd"')
    draft = opened(intake, base, suite("university", files))
    for data in files.values():
        upload(intake, draft, data)
    with pytest.raises(Conflict, match=r"tasks\.0"):
        intake.commit(draft)


def test_submitting_the_same_again_is_the_same_submission(intake: Intake, base: Base, tmp_path: Path) -> None:
    entry = submit(intake, base, manifest("law-institute"), SHARD)
    again = intake.open(sign(entry.claim, base.keys["law-institute"]), "law-institute")
    assert isinstance(again, Entry)
    assert again.index == entry.index


def waiting_intake(base: Base, folder: Path, gate: threading.Event) -> Intake:
    """One whose screening waits for a gate, as a large submission makes it wait."""

    def run(job: Job, advance: Advance) -> list[Finding]:
        gate.wait(30)
        return screen(job, advance)

    return Intake(
        base.database, base.blobs, base.journal, Examination(base.database, base.blobs, Screener(folder, run=run))
    )


def test_a_hub_that_stopped_while_screening_goes_on_by_itself(intake: Intake, base: Base, tmp_path: Path) -> None:
    never, draft = threading.Event(), opened(intake, base, manifest("law-institute"))
    upload(intake, draft, SHARD)
    stopped = waiting_intake(base, tmp_path / "stopped", never)
    stopped.start(draft)
    assert intake.draft(draft.id, "law-institute").state == "screening"
    intake.resume()
    assert intake.commit(draft).id == draft.id
    assert not intake.drafts("law-institute")
    never.set()


def test_committing_again_while_it_is_screened_starts_nothing_anew(intake: Intake, base: Base, tmp_path: Path) -> None:
    gate, draft = threading.Event(), opened(intake, base, manifest("law-institute"))
    upload(intake, draft, SHARD)
    slow = waiting_intake(base, tmp_path / "slow", gate)
    one, two = slow.start(draft), slow.start(draft)
    gate.set()
    assert one is two
    assert one.result(30).id == draft.id


def test_the_index_is_made_anew_when_it_is_lost(intake: Intake, base: Base, tmp_path: Path) -> None:
    """Findings come back as well: after `rebuild` the database has none."""
    entry = submit(intake, base, manifest("law-institute"), SHARD)
    fresh = Examination(base.database, base.blobs, Screener(tmp_path / "fresh", run=screen))
    again = Intake(base.database, base.blobs, base.journal, fresh)
    assert [dataset.id for dataset in fresh.unknown()] == [entry.id]
    with base.database.session(writing=True) as session:
        session.exec(delete(FindingRow))
    for future in again.resume():
        future.result(30)
    later = submit(again, base, manifest("university", name="copied"), SHARD)
    told = {f.rule: f.message for f in again.findings(later.id)}
    assert "Fewer than 10 rows (over half) stand" in told["duplicates-accepted"]
    assert again.findings(entry.id)


def test_a_name_that_is_taken_meanwhile_is_a_reason_like_the_others(intake: Intake, base: Base) -> None:
    other = SHARD.replace(b"contract", b"tenancy")
    draft = opened(intake, base, manifest("law-institute", other))
    upload(intake, draft, other)
    submit(intake, base, manifest("law-institute"), SHARD)
    with pytest.raises(Conflict, match="submitted the dataset contracts"):
        intake.commit(draft)
    assert intake.draft(draft.id, "law-institute").state == "rejected"
    assert intake.findings(draft.id)[-1].rule == "ledger"


def test_nobody_screens_without_end(base: Base, tmp_path: Path) -> None:
    base.enrol("law-institute")
    screener = Screener(tmp_path / "screening", run=screen)
    policy = ScreeningPolicy(tries_per_day=2)
    intake = Intake(base.database, base.blobs, base.journal, Examination(base.database, base.blobs, screener, policy))
    for number in range(2):
        submit(intake, base, manifest("law-institute", name=f"contracts-{number}"), SHARD)
    with pytest.raises(Conflict, match="2 screenings of a day are used up"):
        submit(intake, base, manifest("law-institute", name="contracts-3"), SHARD)
    screener.stop()


@pytest.mark.parametrize(("visibility", "answers"), [("members", 3), ("hub", 1)])
def test_an_answer_about_what_one_may_not_read_counts_as_many_tries(
    base: Base, tmp_path: Path, visibility: SuiteVisibility, answers: int
) -> None:
    """Bisecting another's suite takes many answers."""
    base.enrol("law-institute")
    base.enrol("university")
    screener = Screener(tmp_path / "screening", run=screen)
    policy = ScreeningPolicy(tries_per_day=20)
    intake = Intake(base.database, base.blobs, base.journal, Examination(base.database, base.blobs, screener, policy))
    files = suite_files(TEXTS[2])
    exam = suite("university", files).model_copy(update={"visibility": visibility})
    submit(intake, base, exam, *files.values())
    told = 0
    for number in range(3):
        shard = SHARD + json.dumps({"text": f"And number {number} is another text, so that all differ."}).encode()
        with suppress(Conflict):
            entry = submit(intake, base, manifest("law-institute", shard, 6, name=f"contracts-{number}"), shard)
            told += any(f.rule == "contamination" and f.severity == "warning" for f in intake.findings(entry.id))
    assert told == answers
    screener.stop()


def test_policy_decides_what_refuses(base: Base, tmp_path: Path) -> None:
    base.enrol("law-institute")
    screener = Screener(tmp_path / "screening", run=screen)
    personal = SHARD.replace(b"in writing", b"to anna@uni-bonn.de")
    lenient = Intake(base.database, base.blobs, base.journal, Examination(base.database, base.blobs, screener))
    entry = submit(lenient, base, manifest("law-institute", personal), personal)
    assert {f.rule: f.severity for f in lenient.findings(entry.id)}["personal-data"] == "warning"
    policy = ScreeningPolicy(personal_data="reject")
    strict = Intake(base.database, base.blobs, base.journal, Examination(base.database, base.blobs, screener, policy))
    with pytest.raises(Conflict, match="5 of 5 rows hold what looks like: e-mail address"):
        submit(strict, base, manifest("law-institute", personal, name="again"), personal)
    screener.stop()


def test_credentials_refuse_and_are_not_repeated(intake: Intake, base: Base) -> None:
    token = "ghp_" + "a1B2" * 9
    leaking = SHARD.replace(b"in writing", f"with {token}".encode())
    with pytest.raises(Conflict, match="GitHub token") as refusal:
        submit(intake, base, manifest("law-institute", leaking), leaking)
    (draft,) = intake.drafts("law-institute")
    assert token not in str(refusal.value) + repr(intake.findings(draft.id))


def test_what_was_rejected_takes_space_until_it_is_dropped(intake: Intake, base: Base) -> None:
    """Otherwise a member could have rejected whatever the disk holds."""
    shard = json.dumps({"text": "one row that stands here over and over"}).encode() + b"\n"
    shard *= 50
    draft = opened(intake, base, manifest("law-institute", shard, rows=50))
    upload(intake, draft, shard)
    with pytest.raises(Conflict, match="rejected"):
        intake.commit(draft)
    with base.database.session(writing=True) as session:
        Quota(2 * len(shard), 1).reserve(session, "law-institute", "data-next", len(shard))  # it is not under way
        with pytest.raises(Conflict, match=f"{len(shard)} of your"):
            Quota(2 * len(shard) - 1, 1).reserve(session, "law-institute", "data-next", len(shard))
