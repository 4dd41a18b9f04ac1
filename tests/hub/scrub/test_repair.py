"""One byte of anything is changed: a scrub names it and whose it is, changes nothing, and a mirror brings it back with proof."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import col, select

from hub import setup
from hub.database import Database
from hub.holding import held
from hub.ledger.log import WITNESSED, Log
from hub.places import place
from hub.rebuild import rebuild
from hub.submissions.tables import SubmissionRow
from protos.documents.base import FileEntry
from protos.documents.statements import HUB
from protos.documents.submissions import Purge, Suite, Withdrawal
from tests.dashboards.history import History, fill
from tests.hub.conftest import database_url  # noqa: F401  (a fixture)
from tests.hub.ledger.test_log import Files
from tests.hub.scrub.conftest import Copy, flip
from trust.audit import verify_log
from trust.digests import Digest, digest_bytes, digest_file, hex_of
from trust.errors import Conflict, Corrupt, NotFound, Problem
from trust.keys import LogKey

ENVELOPE = "its statement"


def everything(directory: Path) -> dict[str, bytes]:
    """What a scrub must not change; SQLite keeps files of its own beside the database."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if not path.name.endswith(("-wal", "-shm"))}


def named(copy: Copy, path: str, submission: str = "") -> Digest:
    """A blob that a submission names, by its path."""
    with closing(Database(copy.settings.database_url)) as database, database.session() as session:
        rows = session.exec(select(SubmissionRow).where(col(SubmissionRow.id).contains(submission))).all()
    return next(Digest(file["digest"]) for row in rows for file in row.files if file["path"] == path)


def audited(copy: Copy) -> int:
    """Entries of the log, which is whole."""
    return verify_log(Files(copy.settings.ledger_dir), LogKey.load(copy.settings.log_key).public).head.size


def test_a_sound_hub_is_clean_and_not_touched(copy: Copy) -> None:
    before = everything(copy.settings.directory)
    assert copy.scrub() == []
    assert everything(copy.settings.directory) == before


@pytest.mark.parametrize("lost", [False, True], ids=["changed", "lost"])
@pytest.mark.parametrize("path", ["part-000.jsonl", "suite.json"])
def test_a_blob_is_named_with_whose_it_is_and_comes_back(copy: Copy, path: str, lost: bool) -> None:
    digest = named(copy, path)
    place = copy.blob(digest)
    if lost:
        place.unlink()
    else:
        flip(place)
    before = everything(copy.settings.directory)
    (damage,) = copy.scrub()
    assert (damage.kind, damage.name) == ("blob", digest)
    assert damage.what == ("is missing" if lost else "was changed on the disk")
    assert any(path in owner and owner.startswith("entry ") for owner in damage.belongs)
    assert everything(copy.settings.directory) == before
    assert copy.restore() == ([digest], [])
    assert digest_file(place) == digest
    assert (copy.settings.blobs_dir / "damaged" / hex_of(digest)).exists() is not lost
    assert copy.scrub() == []


def test_a_blob_that_no_entry_names_is_checked_as_well(copy: Copy) -> None:
    place = copy.blob(digest_bytes(b"of a draft"))
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"of a drift")
    (damage,) = copy.scrub()
    assert (damage.name, damage.belongs) == (digest_bytes(b"of a draft"), ())
    assert copy.restore() == ([], [damage.name])


def test_statements_come_back_and_then_what_they_name(copy: Copy) -> None:
    """All blobs are lost: what a statement names is known only when the statement is there again."""
    shutil.rmtree(copy.settings.blobs_dir / "sha256")
    assert {owner.rpartition(": ")[2] for damage in copy.scrub() for owner in damage.belongs} == {ENVELOPE}
    back, lost = copy.restore()
    assert lost == []
    assert len(back) == len(list((copy.mirror / "blobs" / "sha256").glob("??/*")))
    assert copy.scrub() == []


def test_a_mirror_is_not_believed(copy: Copy) -> None:
    digest = named(copy, "part-000.jsonl")
    whole = shutil.copy(copy.blob(digest), copy.settings.directory / "whole")
    mirrored = place(copy.mirror / "blobs" / "sha256", digest)
    flip(copy.blob(digest))
    flip(mirrored)
    assert copy.restore() == ([], [digest])
    shutil.copy(whole, mirrored)
    assert copy.restore() == ([digest], [])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("tile/entries/000", "bundle"),
        ("tile/entries/001.p/9", "bundle"),
        ("tile/0/000", "tile"),
        ("tile/0/001.p/9", "tile"),
        ("tile/1/000.p/1", "tile"),
        ("checkpoint", "head"),
    ],
)
@pytest.mark.parametrize("lost", [False, True], ids=["changed", "lost"])
def test_a_file_of_the_log_is_named_and_comes_back_under_the_signed_head(
    copy: Copy, path: str, kind: str, lost: bool
) -> None:
    whole = copy.ledger(path).read_bytes()
    if lost:
        copy.ledger(path).unlink()
    else:
        flip(copy.ledger(path))
    (damage,) = copy.scrub()
    assert (damage.kind, damage.name) == (kind, path)
    back, missed = copy.restore()
    assert (back, missed) == ([path], [])
    assert copy.ledger(path).read_bytes() == whole
    assert audited(copy) == 265
    assert copy.scrub() == []
    kept = copy.ledger("damaged") / path.replace("/", "_")
    assert kept.exists() is not lost


def test_several_files_at_once_come_back(copy: Copy) -> None:
    for path in ("tile/entries/000", "tile/entries/001.p/9", "tile/0/000", "tile/0/001.p/9", "tile/1/000.p/1"):
        flip(copy.ledger(path))
    assert copy.scrub()
    assert copy.restore()[1] == []
    assert audited(copy) == 265
    assert copy.scrub() == []


def test_a_ledger_that_is_gone_comes_back_whole(copy: Copy) -> None:
    before = everything(copy.settings.ledger_dir)
    shutil.rmtree(copy.settings.ledger_dir)
    with pytest.raises(NotFound, match="no ledger"):
        copy.scrub()
    assert copy.restore()[1] == []
    after = everything(copy.settings.ledger_dir)
    assert audited(copy) == 265
    assert all(before[path] == data for path, data in after.items())


def cut_back(copy: Copy, ledger: Path, size: int, *, last: bytes = b"") -> None:
    """Make the log the one that it was at `size` entries; or one that has another `last` entry, which is a fork."""
    key = LogKey.load(copy.settings.log_key)
    entries = list(Log(ledger, key).reader().entries(0, size))
    shutil.rmtree(ledger)
    Log(ledger, key).append([*entries[:-1], last or entries[-1]])


def test_a_ledger_from_an_older_backup_takes_the_newer_head_of_a_mirror(copy: Copy) -> None:
    """Else it would grow again from an earlier entry, and fork."""
    whole = copy.ledger("checkpoint").read_bytes()
    cut_back(copy, copy.settings.ledger_dir, 200)
    with held(copy.settings.directory), pytest.raises(Conflict):
        copy.restore()
    assert audited(copy) == 200
    back, missed = copy.restore()
    assert "checkpoint" in back
    assert missed == []
    assert audited(copy) == 265
    assert copy.ledger("checkpoint").read_bytes() == whole
    assert copy.scrub() == []


def test_an_older_mirror_and_the_database_bring_a_bundle_back_together(copy: Copy) -> None:
    cut_back(copy, copy.mirror / "ledger", 200)
    copy.ledger("tile/entries/000").write_bytes(bytes(1000))
    kept = copy.settings.directory / "database.sqlite"
    hidden = kept.rename(kept.with_name("hidden"))
    assert copy.restore() == ([], ["tile/entries/000", "database.sqlite"])
    hidden.rename(kept)
    assert copy.restore() == (["tile/entries/000"], [])
    assert audited(copy) == 265


def test_an_older_mirror_makes_no_history_shorter(copy: Copy) -> None:
    cut_back(copy, copy.mirror / "ledger", 200)
    for name in ("checkpoint", ".head"):
        flip(copy.ledger(name))
    before = everything(copy.settings.directory)
    with pytest.raises(Corrupt, match="older than its files"):
        copy.restore()
    assert everything(copy.settings.directory) == before
    (damage,) = copy.scrub()
    assert damage.kind == "head"


@pytest.mark.parametrize("size", [200, 265])
def test_a_mirror_of_another_history_is_refused(copy: Copy, size: int) -> None:
    cut_back(copy, copy.mirror / "ledger", size, last=b"another")
    before = everything(copy.settings.directory)
    with pytest.raises(Corrupt, match="different histories"):
        copy.restore()
    assert everything(copy.settings.directory) == before


def test_a_folder_that_is_no_mirror_or_another_hubs_is_refused(copy: Copy) -> None:
    shutil.rmtree(copy.mirror / "ledger")
    with pytest.raises(NotFound, match="no mirror"):
        copy.restore()
    Log(copy.mirror / "ledger", LogKey.generate("europe")).append([b"entry"])
    with pytest.raises(Problem):
        copy.restore()


def test_the_cosigned_head_is_checked_and_replaced(copy: Copy) -> None:
    for folder in (copy.settings.ledger_dir, copy.mirror / "ledger"):
        shutil.copy(folder / "checkpoint", folder / WITNESSED)
    flip(copy.ledger(WITNESSED), 30)
    (damage,) = copy.scrub()
    assert (damage.kind, damage.name) == ("head", WITNESSED)
    log = Log(copy.settings.ledger_dir, LogKey.load(copy.settings.log_key))
    assert log.witnessed() is None
    assert log.head_over(3) == log.signed_head()
    assert copy.restore() == ([WITNESSED], [])
    assert log.witnessed() == copy.ledger("checkpoint").read_bytes()


def fact(copy: Copy) -> None:
    """One letter of a row, in a page that stays well-formed."""
    path = copy.settings.directory / "database.sqlite"
    flip(path, path.read_bytes().index(b"law-texts"))


def index(copy: Copy) -> None:
    """One letter in an index of the ledger's entries."""
    path = copy.settings.directory / "database.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'ix_ledger_entry_signer'"
        ).fetchone()
    start = (page - 1) * 4096
    flip(path, start + path.read_bytes()[start : start + 4096].rindex(b"hub"))


def page(copy: Copy) -> None:
    """The type of a page."""
    flip(copy.settings.directory / "database.sqlite", 4096 * 4)


def garbage(copy: Copy) -> None:
    (copy.settings.directory / "database.sqlite").write_bytes(b"not a database at all" * 1000)


@pytest.mark.parametrize("damage", [fact, index, page, garbage])
def test_a_byte_of_the_database_is_found_and_the_ledger_makes_it_anew(
    copy: Copy, damage: Callable[[Copy], None]
) -> None:
    damage(copy)
    found = copy.scrub()
    assert {each.kind for each in found} == {"database"}
    if damage is fact:
        assert {(each.name, each.what.partition(" what")[0]) for each in found} == {
            ("submission", "says"),
            ("submission", "lacks"),
        }
    back, lost = copy.restore()
    assert back == []
    assert lost
    rebuild(copy.settings)
    assert copy.scrub() == []


def seal(copy: Copy, *bodies: bytes) -> list[Digest]:
    """Sealed suites, each with one file of its own."""
    history = History(copy.settings)
    history.enrol("exam-house", "contributor")
    files = []
    for number, body in enumerate(bodies):
        entry = FileEntry(path="items.jsonl", digest=digest_bytes(body), size=len(body))
        made = f"made for exam {number}".encode()
        for data in (body, made):
            with history.base.blobs.vault.incoming(digest_bytes(data), len(data), 0) as incoming:
                incoming.write(data)
                incoming.finish()
        described = FileEntry(path="suite.json", digest=digest_bytes(made), size=len(made))
        values = {"name": f"exam-{number}", "version": "1", "domain": "law", "licence": "CC-BY-4.0"}
        values |= {"visibility": "sealed"}
        history.record(Suite(hub=history.hub, signer="exam-house", files=(described, entry), **values))  # type: ignore[arg-type]
        files.append(Digest(entry.digest))
    history.close()
    return files


def test_sealed_blobs_are_opened_to_be_checked_and_come_back_sealed(copy: Copy) -> None:
    """Their owner's mirror holds them in the open; the hub's store never does."""
    digest, lost = seal(copy, b"the first exam", b"the second exam")
    shutil.rmtree(copy.mirror / "ledger")
    shutil.copytree(copy.settings.ledger_dir, copy.mirror / "ledger")
    for each, body in ((digest, b"the first exam"), (lost, b"the second exam")):
        place(copy.mirror / "blobs" / "sha256", each).parent.mkdir(exist_ok=True)
        place(copy.mirror / "blobs" / "sha256", each).write_bytes(body)
    flip(copy.sealed(digest))
    copy.sealed(lost).unlink()
    assert {(damage.name, damage.sealed) for damage in copy.scrub()} == {(digest, True), (lost, True)}
    back, missed = copy.restore()
    assert (set(back), missed) == ({digest, lost}, [])
    assert copy.scrub() == []
    assert copy.sealed(digest).exists()
    assert not copy.blob(digest).exists()


def test_a_wrong_seal_key_costs_no_sealed_blob(copy: Copy) -> None:
    digests = seal(copy, b"the first exam", b"the second exam")
    copy.settings.seal_key.write_bytes(bytes(32))
    assert {damage.name for damage in copy.scrub()} >= set(digests)
    back, _ = copy.restore()
    assert back == []
    assert all(copy.sealed(digest).exists() for digest in digests)
    copy.settings.seal_key.unlink()
    assert all("seal key" in damage.what for damage in copy.scrub())


def test_the_ledger_and_blobs_are_scrubbed_whatever_the_database_is(tmp_path: Path, database_url: str) -> None:  # noqa: F811
    made = setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)
    settings = made.model_copy(update={"database": "" if database_url.startswith("sqlite") else database_url})
    fill(settings)
    shutil.copytree(settings.directory, tmp_path / "mirror")
    copy = Copy(settings, tmp_path / "mirror")
    assert copy.scrub() == []
    digest = digest_bytes(b"{}")
    copy.blob(digest).unlink()
    bundle = max(settings.ledger_dir.glob("tile/entries/000.p/*"), key=lambda path: int(path.name))
    flip(bundle)
    assert {damage.kind for damage in copy.scrub()} == {"blob", "bundle"}
    shutil.rmtree(copy.mirror / "ledger" / "tile" / "entries")  # then the database alone knows the entry
    assert copy.restore() == ([str(bundle.relative_to(settings.ledger_dir)), digest], [])
    assert copy.scrub() == []


def test_what_was_purged_need_not_be_there_and_is_not_brought_back(copy: Copy) -> None:
    """A withdrawal alone excuses no loss: the purge that is signed after it does."""
    history = History(copy.settings)
    history.enrol("leaver", "contributor")
    submission = history.dataset("leaver", "history")
    digest = named(copy, "part-000.jsonl", submission)
    history.record(Withdrawal(hub=history.hub, signer="leaver", submission=submission))
    history.close()
    for folder in ("ledger", "blobs/sha256"):
        shutil.copytree(copy.settings.directory / folder, copy.mirror / folder, dirs_exist_ok=True)
    copy.blob(digest).unlink()
    assert [(damage.name, damage.what) for damage in copy.scrub()] == [(digest, "is missing")]
    history = History(copy.settings)
    history.record(Purge(hub=history.hub, signer=HUB, submission=submission, blobs=(digest,)))
    history.close()
    assert copy.scrub() == []
    assert copy.restore() == ([], [])
    assert not copy.blob(digest).exists()
