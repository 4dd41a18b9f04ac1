"""A tree pieced together from damaged copies: only what the signed head proves, and all that any copy still has right."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ledger.log import Log
from hub.scrub.copies import Folder, Rows
from hub.scrub.proven import Proven
from trust.errors import NotFound
from trust.keys import LogKey
from trust.merkle import EMPTY_ROOT

KEY = LogKey.generate("test-hub")
SIZE = 700
ENTRIES = [b"entry %d" % number for number in range(SIZE)]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    log = Log(tmp_path_factory.mktemp("log"), KEY)
    log.append(ENTRIES[:650])
    log.append(ENTRIES[650:])
    return log


@pytest.fixture
def own(log: Log, tmp_path: Path) -> Folder:
    return copied(log, tmp_path / "own")


@pytest.fixture
def mirror(log: Log, tmp_path: Path) -> Folder:
    return copied(log, tmp_path / "mirror")


def copied(log: Log, directory: Path) -> Folder:
    shutil.copytree(log.directory, directory)
    return Folder(directory)


def paths(log: Log) -> list[str]:
    """Of the files of the tree as it is now: bundles, and tiles of two levels."""
    files = [str(path.relative_to(log.directory)) for path in log.directory.glob("tile/**/*") if path.is_file()]
    assert len(files) == 9
    return sorted(path for path in files if not path.endswith("/138"))  # of the tree of 650


def flip(folder: Folder, path: str, chance: random.Random) -> None:
    file = folder.directory / path
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def proven(log: Log, *copies: Folder | Rows) -> Proven:
    return Proven(log.size, log.head.root, copies)


def test_a_whole_copy_proves_every_file(log: Log, own: Folder) -> None:
    tree = proven(log, own)
    assert tree.holds
    for path in [*paths(log), "tile/entries/002.p/138", "tile/0/002.p/138"]:
        assert tree.file(path) == (log.directory / path).read_bytes()
    assert [entry for number in range(3) for entry in tree.entries(number)] == ENTRIES
    with pytest.raises(NotFound):
        tree.file("tile/0/003")


def test_an_empty_log_proves_nothing_and_holds(tmp_path: Path) -> None:
    assert Proven(0, EMPTY_ROOT, [Folder(tmp_path)]).holds
    assert not Proven(1, EMPTY_ROOT, [Folder(tmp_path)]).holds


@given(seed=st.integers(0, 2**32), lost=st.booleans())
@settings(max_examples=60)
def test_files_that_one_copy_has_right_are_proven_whatever_the_other_says(
    log: Log, tmp_path_factory: pytest.TempPathFactory, seed: int, lost: bool
) -> None:
    """Every file is damaged, or lost, in at most one of the two copies."""
    chance = random.Random(seed)
    directory = tmp_path_factory.mktemp("copies")
    copies = [copied(log, directory / name) for name in ("own", "mirror")]
    for path in paths(log):
        victim = chance.choice([None, *copies])
        if victim and lost:
            (victim.directory / path).unlink()
        elif victim:
            flip(victim, path, chance)
    tree = proven(log, *copies)
    for path in paths(log):
        assert tree.file(path) == (log.directory / path).read_bytes()
    shutil.rmtree(directory)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_what_is_damaged_everywhere_is_never_given_out(
    log: Log, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    directory = tmp_path_factory.mktemp("copies")
    copies = [copied(log, directory / name) for name in ("own", "mirror")]
    for path in paths(log):
        for copy in copies:
            if chance.random() < 0.5:
                flip(copy, path, chance)
    tree = proven(log, *copies)
    for path in paths(log):
        with suppress(NotFound):
            assert tree.file(path) == (log.directory / path).read_bytes()
    shutil.rmtree(directory)


@pytest.mark.parametrize("level", ["0", "1"])
def test_hash_tiles_are_made_again_from_the_entries_of_the_same_copy(log: Log, own: Folder, level: str) -> None:
    for path in paths(log):
        if path.startswith(f"tile/{level}/"):
            (own.directory / path).unlink()
    tree = proven(log, own)
    for path in paths(log):
        assert tree.file(path) == (log.directory / path).read_bytes()


def test_a_bundle_is_pieced_together_from_an_older_mirror_and_the_database(
    log: Log, own: Folder, mirror: Folder
) -> None:
    """The mirror was made at 650 entries, the own bundle is damaged, and the database knows the rest."""
    (mirror.directory / "tile/entries/002.p/188").unlink()
    for path in ("tile/entries/002.p/188", "tile/entries/002.p/138"):
        (own.directory / path).write_bytes(b"\xff" * 40)
    assert proven(log, own, mirror).entries(2) == [*ENTRIES[512:650], *[None] * 50]
    rows = Rows(
        lambda start, stop: [b"wrong" if index < 650 else ENTRIES[index] for index in range(start, min(stop, SIZE))]
    )
    tree = proven(log, own, mirror, rows)
    assert tree.entries(2) == ENTRIES[512:]
    assert tree.file("tile/entries/002.p/188") == (log.directory / "tile/entries/002.p/188").read_bytes()


def test_three_levels_of_tiles_are_proven_through_each_other(tmp_path: Path) -> None:
    """A full tile of level 1 is made again from 256 bundles, where the copy that has them lost their tiles as well."""
    log = Log(tmp_path / "log", KEY)
    log.append([b"%d" % number for number in range(65_536 + 300)])
    own, mirror = copied(log, tmp_path / "own"), copied(log, tmp_path / "mirror")
    for folder, path in ((own, "tile/1/000"), (own, "tile/0/003"), (own, "tile/entries/009"), (mirror, "tile/1/000")):
        flip(folder, path, random.Random(1))
    (mirror.directory / "tile/2/000.p/1").unlink()
    tree = proven(log, own, mirror)
    for path in ("tile/1/000", "tile/0/003", "tile/entries/009", "tile/2/000.p/1"):
        assert tree.file(path) == (log.directory / path).read_bytes()
