"""Which files a site trains on: those that its member declared, where and for whom it may."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contributors.packing import list_dataset
from contributors.site.datasets import (
    Declarations,
    Declared,
    Source,
    read_declarations,
    sources,
    write_declarations,
)
from contributors.site.digests import FileDigests
from protos.documents.placing import Category
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, NotFound

LETTER = b"A letter of many words."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "letter.txt").write_bytes(LETTER)
    (folder / "reports.jsonl").write_text('{"text": "A report."}\n')
    (folder / "notes.docx").write_bytes(b"of no kind that is read")
    return folder


def declared(
    data: Path, category: Category = "private", *jurisdiction: str, name: str = "1", gone: str = ""
) -> Declared:
    """The dataset as `coalition data submit` would list the folder."""
    files = tuple(file.digest for file in list_dataset(data).files)
    return Declared(
        id=f"data-{name}", category=category, jurisdiction=jurisdiction or ("world",), files=files, gone=gone
    )


def look(data: Path, *datasets: Declared, country: str = "NL", hub: str = "NL") -> tuple[Source, ...]:
    known = Declarations(member="law", hub="test-hub", country=hub, datasets=datasets)
    return sources(data, country, known, FileDigests(data.parent / "digests.json"))


def test_every_file_with_text_is_found_with_the_dataset_that_names_it(data: Path) -> None:
    found = look(data, declared(data))
    assert [(source.path.name, source.dataset) for source in found] == [
        ("letter.txt", "data-1"),
        ("reports.jsonl", "data-1"),
    ]
    assert found[0].digest == digest_bytes(LETTER)


def test_a_file_that_no_dataset_names_is_named(data: Path) -> None:
    known = declared(data)
    (data / "later.txt").write_text("Put here after the manifest was signed.")
    with pytest.raises(Denied, match=r"later\.txt belongs to no dataset that law has submitted"):
        look(data, known)


def test_a_file_that_was_changed_belongs_to_no_dataset_any_more(data: Path) -> None:
    known = declared(data)
    look(data, known)
    (data / "letter.txt").write_bytes(LETTER + b" And more.")
    with pytest.raises(Denied, match=r"letter\.txt belongs to no dataset"):
        look(data, known)


@pytest.mark.parametrize("gone", ["data-1 was withdrawn", "data-1 was signed with a key that was revoked"])
def test_what_does_not_stand_is_trained_on_no_more(data: Path, gone: str) -> None:
    with pytest.raises(Denied, match=rf"letter\.txt may not be trained on: {gone}"):
        look(data, declared(data, gone=gone))


def test_a_dataset_that_was_submitted_again_counts_in_the_withdrawn_ones_place(data: Path) -> None:
    found = look(data, declared(data, gone="data-1 was withdrawn"), declared(data, name="2"))
    assert {source.dataset for source in found} == {"data-2"}


@pytest.mark.parametrize("category", ["open", "controlled", "private", "sovereign"])
def test_a_site_outside_the_jurisdiction_does_not_train_on_it(data: Path, category: Category) -> None:
    assert look(data, declared(data, category, "EU"), country="NL")
    for country in ("US", ""):
        with pytest.raises(Denied, match="may be in EU alone, not at the site law"):
            look(data, declared(data, category, "EU"), country=country)


def test_what_is_learned_from_sovereign_data_goes_to_no_hub_abroad(data: Path) -> None:
    assert look(data, declared(data, "sovereign", "NL"), hub="NL")
    assert look(data, declared(data, "private", "NL"), hub="US")
    for hub in ("US", ""):
        with pytest.raises(Denied, match="updates from it may go to NL alone, not to the hub test-hub"):
            look(data, declared(data, "sovereign", "NL"), hub=hub)


def test_a_folder_without_text_and_no_folder_are_plain_refusals(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no text"):
        look(tmp_path)
    with pytest.raises(NotFound, match=r"not at .*nowhere"):
        look(tmp_path / "nowhere")


def test_the_declarations_are_kept_for_the_training_process(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_declarations(tmp_path)
    known = Declarations(member="law", hub="test-hub", datasets=(declared(data),))
    write_declarations(tmp_path, known)
    assert read_declarations(tmp_path) == known


def test_a_file_is_hashed_again_only_when_it_changed(data: Path) -> None:
    """What a hash would say otherwise is not noticed as long as size and time are the same: it was not computed."""
    letter, memory = data / "letter.txt", data.parent / "digests.json"
    before = FileDigests(memory).of([letter])
    moment = letter.stat().st_mtime_ns
    letter.write_bytes(LETTER.upper())
    os.utime(letter, ns=(moment, moment))
    assert FileDigests(memory).of([letter]) == before
    os.utime(letter, ns=(moment, moment + 1))
    assert FileDigests(memory).of([letter]) == {letter: digest_bytes(LETTER.upper())}
