"""A node carries out the hub's order in the hub's own sandbox, and says what kept it from that."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from hub.evaluation import process
from hub.evaluation.lent import Lent
from hub.evaluation.outputs import believe
from hub.evaluation.sandbox import cgroups
from hub.evaluation.scorer import Scorer
from protos.coalition.v1 import common_pb2, training_pb2
from tests.hub.evaluation.conftest import CHOICE, HERE, suite_files
from trust.digests import digest_bytes, hex_of

pytestmark = pytest.mark.system
NAME = "law/exam@0123456789ab"
ONE = [{"name": "terms", "data": "terms.jsonl", **CHOICE}]


class Shelf:
    """The way to the hub's blobs, as a folder; `fetched` are the names of what was asked for."""

    def __init__(self, folder: Path, bodies: Iterable[bytes]) -> None:
        self._folder = folder
        self.fetched: list[str] = []
        folder.mkdir()
        for body in bodies:
            (folder / hex_of(digest_bytes(body))).write_bytes(body)

    async def fetch(self, files: Iterable[common_pb2.File], folder: Path | None = None) -> list[Path]:
        paths = []
        for file in files:
            self.fetched.append(file.path)
            source = self._folder / file.digest.removeprefix("sha256:")
            target = folder / file.path if folder else source
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            paths.append(target)
        return paths

    async def upload(self, paths: Iterable[Path]) -> list[common_pb2.File]:
        (body,) = [path.read_bytes() for path in paths]
        digest = digest_bytes(body)
        (self._folder / hex_of(digest)).write_bytes(body)
        return [common_pb2.File(path="output", digest=digest, size=len(body))]

    def read(self, file: common_pb2.File) -> bytes:
        return (self._folder / file.digest.removeprefix("sha256:")).read_bytes()


def listed(files: dict[str, bytes]) -> list[common_pb2.File]:
    return [common_pb2.File(path=path, digest=digest_bytes(body), size=len(body)) for path, body in files.items()]


async def test_two_suites_of_a_model_come_to_the_hubs_scores_and_it_is_laid_out_once(
    tmp_path: Path, files: dict[str, bytes], model_folder: Path
) -> None:
    suites = [suite_files("one-exam", ONE), suite_files("two-exam", ONE)]
    shelf = Shelf(tmp_path / "shelf", [body for each in (files, *suites) for body in each.values()])
    lent = Lent(tmp_path / "node", HERE)
    try:
        for number, suite in enumerate(suites):
            order = training_pb2.Evaluate(
                id=f"{number}",
                model="tiny-1",
                model_files=listed(files),
                suite=f"suite-{number}",
                name=NAME,
                suite_files=listed(suite),
                seconds=600,
            )
            answer = await lent.evaluate(order, shelf)
            assert (answer.id, answer.why, answer.trouble) == (f"{number}", "", "")
            assert answer.harness.startswith("lm-eval ")
            found = believe(shelf.read(answer.output), suite)
            here = Scorer(model_folder).evaluate(suite, NAME)
            assert len(found.log.splitlines()) == len(here)
            assert found.scores[0].items == len(here)
    finally:
        await lent.stop()
    assert shelf.fetched.count("model.safetensors") == 1
    assert not (tmp_path / "node" / "evaluation" / "models" / "model").exists()


async def test_without_a_layer_that_its_operator_demands_a_node_is_unable(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "no-cgroups")
    lent = Lent(tmp_path / "node", ("cgroup",))
    shelf = Shelf(tmp_path / "shelf", [])
    answer = await lent.evaluate(training_pb2.Evaluate(id="a", model="tiny-1", model_files=listed(files)), shelf)
    assert answer.unable
    assert "cgroup" in answer.trouble
    assert not shelf.fetched


async def test_a_node_whose_worker_starts_too_slowly_may_be_asked_again(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 0.0)
    lent = Lent(tmp_path / "node", HERE)
    shelf = Shelf(tmp_path / "shelf", [])
    answer = await lent.evaluate(training_pb2.Evaluate(id="a", model="tiny-1", model_files=listed(files)), shelf)
    assert "did not start" in answer.trouble
    assert not answer.unable
