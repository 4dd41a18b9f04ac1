"""A site trains on the model that the ledger has, and on no other that a hub sends."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from contributors.site.proving import Came, Models, check_model, read_models, waits, write_models
from protos.documents.base import FileEntry
from protos.documents.rounds import CONTROL, Control, RoundTask
from tests.contributors.site.test_policy import FILE, task
from trust.digests import digest_bytes
from trust.errors import Denied

WEIGHTS = FileEntry(path="model.safetensors", digest=digest_bytes(b"weights"), size=7)
OTHERS = WEIGHTS.model_copy(update={"digest": digest_bytes(b"others!")})
BESIDE = FileEntry(path=CONTROL, digest=digest_bytes(b"control"), size=7)


def came(number: int, campaign: str = "campaign-a") -> Came:
    return Came(campaign=campaign, round=number, files=(FILE, WEIGHTS))


def asked(number: int, *files: FileEntry, **more: object) -> RoundTask:
    return task(round=number, files=files, **more)


def test_the_first_round_is_proven_by_what_was_agreed_to(tmp_path: Path) -> None:
    check_model(tmp_path, asked(1, OTHERS))


def test_a_round_starts_from_what_the_round_before_came_to(tmp_path: Path) -> None:
    write_models(tmp_path, Models(rounds=(came(1), came(2))))
    check_model(tmp_path, asked(2, FILE, WEIGHTS))
    check_model(tmp_path, asked(3, FILE, WEIGHTS))
    check_model(tmp_path, asked(3, FILE, WEIGHTS, BESIDE, control=Control()))


@pytest.mark.parametrize(
    "files", [(FILE, OTHERS), (WEIGHTS, FILE.model_copy(update={"path": "more.json"})), (BESIDE,), (FILE,)]
)
def test_another_model_is_refused_and_its_file_is_named(tmp_path: Path, files: tuple[FileEntry, ...]) -> None:
    write_models(tmp_path, Models(rounds=(came(1),)))
    wrong = min(each.path for each in {FILE, WEIGHTS}.symmetric_difference(files))
    with pytest.raises(Denied, match=f"^{wrong} of the task is not that of round 1 of campaign-a on the ledger.$"):
        check_model(tmp_path, asked(2, *files))


@pytest.mark.parametrize("known", [(), (came(2),), (came(1, "campaign-b"),)])
def test_a_model_of_which_the_ledger_says_nothing_is_refused(tmp_path: Path, known: tuple[Came, ...]) -> None:
    write_models(tmp_path, Models(rounds=known))
    with pytest.raises(Denied, match="has no model of round 1 of campaign-a"):
        check_model(tmp_path, asked(2, FILE, WEIGHTS), patience=0.2)
    assert not waits(tmp_path)


def test_a_model_that_is_recorded_meanwhile_is_waited_for_and_the_site_knows(tmp_path: Path) -> None:
    write_models(tmp_path, Models())
    heard = threading.Event()

    def site() -> None:
        while not waits(tmp_path):
            heard.wait(0.01)
        write_models(tmp_path, Models(rounds=(came(1),)))
        heard.set()

    threading.Thread(target=site).start()
    check_model(tmp_path, asked(2, FILE, WEIGHTS))
    assert heard.is_set()
    assert not waits(tmp_path)


def test_what_is_known_outlives_the_process(tmp_path: Path) -> None:
    assert read_models(tmp_path) == Models()
    write_models(tmp_path, Models(rounds=(came(1),)))
    assert read_models(tmp_path).of("campaign-a", 1) == frozenset({FILE, WEIGHTS})
