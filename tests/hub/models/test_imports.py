"""A model that others trained becomes a base: with its licence and provenance on the ledger, and nothing of it unchecked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hub.models import registry
from hub.models.imports import Described, take_in
from hub.models.origins import import_of
from hub.models.releases import Releases
from learning.architectures import build_model
from learning.export import save_model
from learning.tokenizer import train_tokenizer
from protos.documents.licences import LicencePolicy
from protos.documents.models import Model
from tests.hub.conftest import Base
from tests.shapes import llama
from trust.errors import Invalid, NotFound

OURS = Described(
    name="small", licence="Apache-2.0", provenance="SmallLM of <b>Others</b>, [model page](https://example.org)"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    model = build_model(llama(280, 16, 32, 1, 2, 2, 32), seed=1)
    save_model(model, train_tokenizer(iter(["Members sign what they send."]), 280), folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "small"
    copied.mkdir()
    for path in exported.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return copied


def taken(base: Base, folder: Path, described: Described = OURS) -> Model:
    return take_in(
        folder,
        described,
        policy=LicencePolicy(),
        database=base.database,
        blobs=base.blobs,
        journal=base.journal,
    )


def test_what_is_taken_in_is_a_base_with_the_licence_and_whose_it_is(base: Base, folder: Path) -> None:
    model = taken(base, folder)
    assert (model.model, model.architecture, model.tokens) == ("small-1", "LlamaForCausalLM", 0)
    assert taken(base, folder).model == "small-2"
    with base.database.session() as session:
        row = registry.get(session, "small-1")
    source = import_of(base.journal, row)
    assert source is not None
    assert (source.licence, source.provenance, source.files) == (OURS.licence, OURS.provenance, model.files)
    assert {file.path for file in model.files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    for file in model.files:
        assert base.blobs.read(file.digest, 1 << 24) == (folder / file.path).read_bytes()


def test_a_release_of_it_says_so_and_nothing_in_the_words_acts(base: Base, folder: Path) -> None:
    taken(base, folder)
    releases = Releases(
        database=base.database, blobs=base.blobs, journal=base.journal, scores_of=lambda session, model: ()
    )
    card = next(file for file in releases.prepare("small-1", "1.0") if file.path == "README.md")
    text = base.blobs.read(card.digest, 1 << 20).decode()
    _, front, body = text.split("---", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "text-generation"
    assert "The base small-1 was trained by others, under Apache-2.0" in body
    assert "<b>" not in body
    assert "[model page](" not in body


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"0" * 100), "cannot be read"),
        (lambda folder: _change(folder / "config.json", hidden_size=8), "cannot be read|do not fit"),
        (lambda folder: _change(folder / "config.json", auto_map={"AutoModel": "code.Model"}), "code to run"),
        (lambda folder: _change(folder / "tokenizer_config.json", auto_map={"": ""}), "code to run"),
        (lambda folder: _change(folder / "config.json", architectures=[]), "which architecture"),
    ],
)
def test_what_does_not_load_as_it_says_or_names_code_is_refused(
    base: Base, folder: Path, spoil: object, why: str
) -> None:
    spoil(folder)  # type: ignore[operator]
    size = base.journal.size
    with pytest.raises((Invalid, NotFound), match=why):
        taken(base, folder)
    assert base.journal.size == size


@pytest.mark.parametrize("licence", ["LicenseRef-Proprietary", "CC-BY-NC-4.0", "no licence"])
def test_a_licence_that_the_coalition_does_not_take_is_refused(base: Base, folder: Path, licence: str) -> None:
    with pytest.raises(Invalid):
        taken(base, folder, Described.read({"name": "small", "licence": licence, "provenance": "somewhere"}))


def _change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
