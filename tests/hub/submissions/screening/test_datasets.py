"""A dataset's screening: the same findings however often it is interrupted, and quick on texts made to be slow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hub.submissions.screening import contamination, course, datasets
from hub.submissions.screening.batches import batches
from hub.submissions.screening.contamination import grams_of
from hub.submissions.screening.course import examine
from hub.submissions.screening.datasets import Advance, look_for_suite, screen_dataset
from hub.submissions.screening.duplicates import load, repeated
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.index import Index
from hub.submissions.screening.jobs import DatasetJob, HeldDataset, ShardFile, SuiteGrams, SuiteJob
from hub.submissions.screening.words import Batch

ITEM = "a tenant who sublets without the consent of the landlord may lose the lease at once under section nine"
OTHER = "whoever finds a thing that was lost and keeps it for three years without hearing of its owner owns it"


def rows(count: int, seed: int = 0) -> list[str]:
    """Texts of 40 to 200 words that have little in common."""
    random = np.random.default_rng(seed)
    return [
        f"{number} " + " ".join(f"w{word}" for word in random.integers(0, 5000, random.integers(40, 200)))
        for number in range(count)
    ]


def job(folder: Path, *shards: list[str], suite: bool = False, **changes: object) -> DatasetJob:
    folder.mkdir(exist_ok=True)
    files = []
    for number, texts in enumerate(shards):
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        files.append(ShardFile(name=path.name, path=str(path), rows=len(texts)))
    grams_of([[ITEM]]).save(folder / "suite.npz")
    values = {
        "id": "data-1",
        "licence": "MIT",
        "rows": sum(map(len, shards)),
        "files": files,
        "suites": [SuiteGrams(id="suite-1", suite="board/exam 1", path=str(folder / "suite.npz"), readable=True)]
        if suite
        else [],
        "index": str(folder / "index"),
        "folder": str(folder / "course"),
    }
    return DatasetJob(**{**values, **changes})  # type: ignore[arg-type]


def told(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.rule: finding for finding in findings}


class Killed(Exception):
    pass


def dies_at(word: int) -> Advance:
    """When it says for the so manyeth time how far it is."""
    words = 0

    def die(rows: int) -> None:
        nonlocal words
        words += 1
        if words == word:
            raise Killed

    return die


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_a_screening_that_was_killed_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    texts = rows(300)
    texts[120] = texts[10]
    texts[130] = f"{ITEM} {texts[130]}"
    texts[200] = texts[200] + " mail peter@uni-bonn.de"
    texts = [text + " and the secret phrase is here" if n % 10 == 0 else text for n, text in enumerate(texts)]
    monkeypatch.setattr("hub.submissions.screening.batches.SIZE", 20_000)
    monkeypatch.setattr(datasets, "KEEP_EVERY", 30_000)
    whole = screen_dataset(job(tmp_path / "a", texts[:170], texts[170:], suite=True))
    cut = job(tmp_path / "b", texts[:170], texts[170:], suite=True)
    with pytest.raises(Killed):
        screen_dataset(cut, dies_at(stop_at))
    again: list[int] = []
    assert screen_dataset(cut, again.append) == whole
    assert (tmp_path / "a/course/fingerprints").read_bytes() == (tmp_path / "b/course/fingerprints").read_bytes()
    if stop_at > 3:
        assert again[0] > 100  # it did not begin anew
    found = told(whole)
    assert found["duplicates"].examples == ("row 121",)
    assert found["contamination"].examples == ("row 131",)
    assert found["personal-data"].examples == ("row 201: xxxxx@xxx-xxxx.xx",)
    assert found["phrases"].count >= 30


def test_suites_that_come_and_go_while_a_screening_is_interrupted_count_as_if_it_had_begun_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the rows that went by before a suite came; as many suites as before may be others."""
    texts = rows(300)
    for number in (10, 130, 290):
        texts[number] = f"{ITEM} {texts[number]}"
    texts[20] += " " + OTHER
    monkeypatch.setattr("hub.submissions.screening.batches.SIZE", 20_000)
    monkeypatch.setattr(datasets, "KEEP_EVERY", 30_000)
    exam, quiz, gone = (
        SuiteGrams(id=name, suite=f"board/{name} 1", path=str(tmp_path / f"{name}.npz"), readable=True)
        for name in ("exam", "quiz", "gone")
    )
    for suite, item in (
        (exam, ITEM),
        (quiz, OTHER),
        (gone, "none of it stands anywhere in all of these many rows at all"),
    ):
        grams_of([[item]]).save(Path(suite.path))
    whole = screen_dataset(job(tmp_path / "a", texts, suites=[quiz, exam]))
    with pytest.raises(Killed):
        screen_dataset(job(tmp_path / "b", texts, suites=[exam, gone]), dies_at(8))
    seen: list[int] = []
    assert screen_dataset(job(tmp_path / "b", texts, suites=[quiz, exam]), seen.append) == whole
    assert seen[0] > 100  # it did not begin anew
    assert [finding.examples for finding in whole if finding.rule == "contamination"] == [
        ("row 21",),
        ("row 11", "row 131", "row 291"),
    ]


def test_a_suite_is_looked_for_once_in_each_dataset(tmp_path: Path) -> None:
    """However often the look is cut short, or has to be taken up again because more was accepted."""
    shards = []
    for number in range(3):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps({"text": f"{ITEM} once more"}) + "\n")
        file = ShardFile(name=path.name, path=str(path), rows=1)
        shards.append(HeldDataset(id=f"data-{number}", files=(file,), readable=True))
    grams_of([[ITEM]]).save(tmp_path / "suite.npz")
    values = {
        "id": "suite-1",
        "grams": SuiteGrams(id="suite-1", suite="exam", path=str(tmp_path / "suite.npz")),
        "folder": str(tmp_path / "course"),
    }
    first = look_for_suite(SuiteJob(**values, datasets=tuple(shards[:2])))  # type: ignore[arg-type]
    for number in range(2):
        (tmp_path / f"{number}.jsonl").unlink()
    with (tmp_path / "course" / f"told.{contamination.FORMAT}").open("ab") as notes:
        notes.write(b'["data-2", "cut')
    again = look_for_suite(SuiteJob(**values, datasets=tuple(shards)))  # type: ignore[arg-type]
    assert again[:2] == first
    assert again[2].message == first[0].message.replace("data-0", "data-2")


def test_of_a_dataset_that_its_submitter_may_not_read_a_suite_is_told_nothing_before_five_items(tmp_path: Path) -> None:
    """Else a suite of guesses, one at a time, would spell out what the hub holds for its owner alone."""
    items = [f"what is the right dose of drug{number} for children" for number in range(7)]
    path = tmp_path / "0.jsonl"
    path.write_text("".join(json.dumps({"text": item}) + "\n" for item in items))
    file = ShardFile(name=path.name, path=str(path), rows=len(items))

    def look(count: int, *, readable: bool) -> Finding:
        name = f"{count}-{readable}"
        grams_of([[item] for item in items[:count]]).save(tmp_path / name)
        job = SuiteJob(
            id="suite-1",
            grams=SuiteGrams(id="suite-1", suite="exam", path=str(tmp_path / name)),
            datasets=(HeldDataset(id="data-1", files=(file,), readable=readable),),
            folder=str(tmp_path / f"course-{name}"),
        )
        (finding,) = look_for_suite(job)
        return finding

    assert [look(count, readable=False).severity for count in (1, 4, 5)] == ["info", "info", "warning"]
    assert look(4, readable=False).message == "No overlap to tell of with the one accepted dataset."
    assert "rows" not in look(5, readable=False).message
    assert "rows hold a run" in look(1, readable=True).message


def test_where_nothing_was_compared_with_the_findings_say_that_there_is_none_yet(tmp_path: Path) -> None:
    assert told(screen_dataset(job(tmp_path, rows(20))))["contamination"].message == (
        "No overlap to tell of with any evaluation suite: there is none yet."
    )
    grams = SuiteGrams(id="suite-1", suite="exam", path=str(tmp_path / "suite.npz"))
    (finding,) = look_for_suite(SuiteJob(id="suite-1", grams=grams, folder=str(tmp_path / "looked")))
    assert finding.message == "No overlap to tell of with any accepted dataset: there is none yet."


def test_every_field_that_is_served_is_screened(tmp_path: Path) -> None:
    """What stands in titles and sources is told at its row; what equal rows are, their texts alone say."""
    this = job(tmp_path, rows(20), suite=True)
    texts = rows(20)
    marked = [{"text": text} for text in texts]
    marked[4]["title"] = "By peter@uni-bonn.de"
    marked[7]["source"] = f"{ITEM} and AKIA" + "Z2345672345672AA"[:16]
    marked.append({"text": texts[3], "title": "another title"})
    Path(this.files[0].path).write_text("".join(json.dumps(row) + "\n" for row in marked))
    file = this.files[0].model_copy(update={"rows": 21})
    found = told(screen_dataset(this.model_copy(update={"files": (file,), "rows": 21})))
    assert found["personal-data"].examples == ("row 5: xxxxx@xxx-xxxx.xx",)
    assert found["secrets"].severity == "reject"
    assert found["contamination"].examples == ("row 8",)
    assert found["duplicates"].examples == ("row 21",)


def test_a_damaged_checkpoint_is_a_new_beginning(tmp_path: Path) -> None:
    this = job(tmp_path, rows(20))
    whole = screen_dataset(this)
    (tmp_path / "course/course.npz").write_bytes(b"PK\x03\x04 nonsense")
    assert screen_dataset(this) == whole


def test_near_and_equal_rows_are_told_within_and_against_what_was_accepted(tmp_path: Path) -> None:
    texts = rows(40)
    near = texts[3].replace(texts[3].split()[9], "other").replace(" w", "  W", 30)
    own = job(tmp_path / "own", [*texts, texts[0].upper(), near])
    found = told(screen_dataset(own))
    assert found["duplicates"].examples == ("row 41",)
    assert found["near-duplicates"].examples == ("row 42",)
    index = Index(tmp_path / "index")
    index.add("data-old", tmp_path / "own/course/keys")
    later = [*rows(30, seed=9), texts[7], near]
    mine = told(screen_dataset(job(tmp_path / "mine", later, index=str(tmp_path / "index"), own=["data-old"])))
    assert mine["duplicates-accepted"].count == 2
    theirs = told(screen_dataset(job(tmp_path / "his", later, index=str(tmp_path / "index"), others=["data-old"])))
    assert theirs["duplicates-accepted"].count == 0
    assert "Fewer than 10 rows (1 to 10 %)" in theirs["duplicates-accepted"].message
    gone = told(screen_dataset(job(tmp_path / "gone", later, index=str(tmp_path / "index"))))
    assert "duplicates-accepted" not in gone


def test_the_index_merges_its_segments_and_forgets_nothing(tmp_path: Path) -> None:
    folder, kept = tmp_path / "index", []
    for number in range(12):
        this = job(tmp_path / str(number), rows(6, seed=number))
        screen_dataset(this)
        kept.append(load(tmp_path / str(number) / "course/fingerprints"))
        Index(folder).add(f"data-{number}", tmp_path / str(number) / "course/keys")
    assert len(list(folder.glob("*.keys"))) <= 6
    for number, fingerprints in enumerate(kept):
        assert Index(folder).look(fingerprints, [f"data-{number}"], []).own.all()
        assert not Index(folder).look(fingerprints, [f"data-{(number + 1) % 12}"], []).own.any()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "7" * 1_000_000,
        "a@" * 500_000,
        "\u0301\u0323" * 500_000,
        "-" * 1_000_000,
        "ab " * 333_333,
        " ".join(map(str, range(150_000))),
        "eyJ" + "a." * 499_000,
        "1.2.3." * 160_000,
        "+49 221 4702224 " * 60_000,
        "\n" * 500_000 + "a",
        "人" * 1_000_000,
        "AB12 " * 200_000,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_no_text_is_slow(text: str) -> None:
    """A megabyte that is made to be slow: quadratic work, or a pattern that backtracks, would not come back today."""

    part = examine(Batch([text]), [])
    assert part.size == len(text.encode()) + 1


def test_a_row_does_not_depend_on_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this = job(tmp_path, rows(60))
    whole = np.concatenate([examine(batch, []).fingerprints for batch, _ in batches(this.files)])
    monkeypatch.setattr("hub.submissions.screening.batches.SIZE", 3000)
    pieces = np.concatenate([examine(batch, []).fingerprints for batch, _ in batches(this.files)])
    assert (whole == pieces).all()


def test_all_rows_equal_and_all_different() -> None:
    same = examine(Batch(["the same old row of more than five words"] * 50), []).fingerprints
    assert repeated(same)[0].sum() == 49
    other = examine(Batch(rows(50)), []).fingerprints
    assert [marks.sum() for marks in repeated(other)] == [0, 0]


def test_what_a_checkpoint_holds_is_bounded(tmp_path: Path) -> None:
    kept = course.Course.resume(tmp_path, {})
    texts = [f"mail person{n}@uni-bonn.de and the same six words again" for n in range(3000)]
    kept.add(examine(Batch(texts), []), kept.place)
    assert len(kept.phrases.frequent) <= 64
    assert len(kept.examples["e-mail address"]) == 5
    assert kept.holders["e-mail address"] == 3000
