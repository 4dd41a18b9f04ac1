"""A release is what the hub proposes, signed by a core member; nothing else is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from sqlmodel import Session

from hub.ledger.grants import may_read
from hub.models import registry
from hub.models.card import ScoreLine
from hub.models.releases import Releases
from protos.documents.base import FileEntry
from protos.documents.evaluations import TaskScore
from protos.documents.models import Release
from protos.documents.statements import sign
from tests.hub.conftest import ORIGIN, Base
from tests.hub.models.conftest import NOWHERE, contribution, record_dataset, record_model
from trust.bundles import sign_files
from trust.digests import Digest, digest_bytes
from trust.errors import Conflict, Denied, Invalid, NotFound
from trust.keys import ArtifactKey

IGNORED = ("model.sig", "keys")


@dataclass
class Scores:
    """The evaluation room's part: what models got."""

    lines: list[ScoreLine] = field(default_factory=list)

    def of(self, session: Session, model: str) -> Sequence[ScoreLine]:
        return self.lines

    def add(self, suite: str, task: str, value: float) -> None:
        score = TaskScore(task=task, metric="acc", value=value, standard_error=0.04, items=150, baseline=0.25)
        self.lines.append(ScoreLine(suite, NOWHERE, "eval-1", 7, NOWHERE, score))


@pytest.fixture
def scores() -> Scores:
    return Scores()


@pytest.fixture
def releases(base: Base, scores: Scores) -> Releases:
    """A base model from one dataset and a round on it, ready to be released."""
    base.enrol("core-team", "core")
    base.enrol("law-institute")
    used = record_dataset(base, "law-institute", "contracts")
    record_model(base, "tiny-1", data=[used])
    record_model(base, "tiny-1.1", parent="tiny-1", contributions=[contribution("law-institute")])
    return Releases(database=base.database, blobs=base.blobs, journal=base.journal, scores_of=scores.of)


def bundle_of(files: Sequence[FileEntry], key: ArtifactKey, ignored: Sequence[str] = IGNORED) -> bytes:
    return sign_files("tiny", {file.path: Digest(file.digest) for file in files}, key, ignored)


def statement(base: Base, files: Sequence[FileEntry], bundle: bytes, **changes: Any) -> bytes:
    values = {
        "hub": ORIGIN,
        "signer": "core-team",
        "version": "1.0",
        "model": "tiny-1.1",
        "files": tuple(files),
        "bundle": digest_bytes(bundle),
    }
    return sign(Release(**{**values, **changes}), base.keys["core-team"])


def body(base: Base, files: Sequence[FileEntry], path: str) -> bytes:
    (file,) = [file for file in files if file.path == path]
    return base.blobs.read(Digest(file.digest))


def front_matter(base: Base, files: Sequence[FileEntry]) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(body(base, files, "README.md").decode().split("---\n")[1])
    return values


def test_the_proposal_is_the_model_its_card_and_its_provenance(base: Base, releases: Releases) -> None:
    files = releases.prepare("tiny-1.1", "1.0")
    names = {file.path for file in files}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "README.md", "provenance.json"}
    assert all(base.blobs.size(Digest(file.digest)) == file.size for file in files)


def test_the_same_ledger_gives_the_same_bytes(releases: Releases, scores: Scores) -> None:
    scores.add("law-exam", "clauses", 0.31)
    scores.add("art-exam", "painters", 0.41)
    first = releases.prepare("tiny-1.1", "1.0")
    scores.lines.reverse()
    assert releases.prepare("tiny-1.1", "1.0") == first


def test_the_card_says_who_gave_what_and_what_came_of_it(base: Base, releases: Releases, scores: Scores) -> None:
    scores.add("law-exam", "clauses", 0.3125)
    files = releases.prepare("tiny-1.1", "1.0")
    values = front_matter(base, files)
    assert values["base_model"] == "tiny-1"
    assert values["datasets"] == ["law-institute/contracts"]
    (result,) = values["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "acc", "value": 0.3125, "name": "acc"}]
    text = body(base, files, "README.md").decode()
    assert "| law-institute | contracts | law | CC-BY-4.0 | 1,000 |" in text
    assert "| tiny-1.1 | law-institute | 100 | 0.500 |" in text
    assert "| law-exam | clauses | acc | 0.3125 | 0.0400 | 0.250 | 150 |" in text


def test_a_licence_cannot_write_the_front_matter(base: Base, releases: Releases) -> None:
    used = record_dataset(base, "law-institute", "odd", licence="MIT: (x) ")
    record_model(base, "odd-1", data=[used])
    values = front_matter(base, releases.prepare("odd-1", "1.0"))
    assert values["license"] == "other"
    assert "base_model" not in values


def test_the_provenance_pins_every_statement(base: Base, releases: Releases, scores: Scores) -> None:
    scores.add("law-exam", "clauses", 0.3)
    files = releases.prepare("tiny-1.1", "1.0")
    provenance = json.loads(body(base, files, "provenance.json"))
    assert [model["model"] for model in provenance["models"]] == ["tiny-1.1", "tiny-1"]
    for model in provenance["models"]:
        entry = base.journal.find(Digest(model["payload"]))
        assert entry is not None
        assert entry.index == model["ledger_entry"]
    (used,) = provenance["data"]
    dataset = base.journal.find(Digest(used["payload"]))
    assert dataset is not None
    assert (dataset.index, dataset.id) == (used["ledger_entry"], used["dataset"])
    assert provenance["evaluations"][0]["samples"] == NOWHERE


def test_a_signed_proposal_is_published_and_readable(base: Base, releases: Releases) -> None:
    files = releases.prepare("tiny-1.1", "1.0")
    bundle = bundle_of(files, base.keys["core-team"])
    entry = releases.publish(statement(base, files, bundle), bundle, "core-team")
    assert (entry.kind, entry.id) == ("release", "1.0")
    with base.database.session() as session:
        row = registry.get_release(session, "1.0")
        assert (row.model, row.member) == ("tiny-1.1", "core-team")
        for digest in [row.bundle, *(file.digest for file in files)]:
            assert may_read(session, Digest(digest), member="anybody")


def test_publishing_twice_is_publishing_once_even_after_new_scores(
    base: Base, releases: Releases, scores: Scores
) -> None:
    files = releases.prepare("tiny-1.1", "1.0")
    bundle = bundle_of(files, base.keys["core-team"])
    envelope = statement(base, files, bundle)
    first = releases.publish(envelope, bundle, "core-team")
    scores.add("law-exam", "clauses", 0.3)
    assert releases.publish(envelope, bundle, "core-team") == first


def test_a_proposal_that_new_scores_overtook_is_refused(base: Base, releases: Releases, scores: Scores) -> None:
    files = releases.prepare("tiny-1.1", "1.0")
    bundle = bundle_of(files, base.keys["core-team"])
    scores.add("law-exam", "clauses", 0.3)
    with pytest.raises(Conflict, match="proposes now"):
        releases.publish(statement(base, files, bundle), bundle, "core-team")


def test_a_version_is_used_once(base: Base, releases: Releases) -> None:
    for model in ("tiny-1.1", "tiny-1"):
        files = releases.prepare(model, "1.0")
        bundle = bundle_of(files, base.keys["core-team"])
        envelope = statement(base, files, bundle, model=model)
        if model == "tiny-1":
            with pytest.raises(Conflict, match=r"1\.0"):
                releases.publish(envelope, bundle, "core-team")
        else:
            releases.publish(envelope, bundle, "core-team")


def test_files_that_the_hub_does_not_propose_are_refused(base: Base, releases: Releases) -> None:
    files = releases.prepare("tiny-1.1", "1.0")
    extra = FileEntry(path="run.py", digest=base.blobs.put(b"import os"), size=9)
    for wrong in ([*files, extra], files[:-1], [files[0].model_copy(update={"digest": extra.digest}), *files[1:]]):
        bundle = bundle_of(wrong, base.keys["core-team"])
        with pytest.raises(Conflict, match="proposes now"):
            releases.publish(statement(base, wrong, bundle), bundle, "core-team")


def test_a_bundle_must_be_the_signers_own_and_cover_everything(base: Base, releases: Releases) -> None:
    files = releases.prepare("tiny-1.1", "1.0")
    own = base.keys["core-team"]
    for bundle in (
        bundle_of(files, base.keys["law-institute"]),
        bundle_of(files[:-1], own),
        bundle_of(files, own, ignored=("README.md",)),
    ):
        with pytest.raises(Denied):
            releases.publish(statement(base, files, bundle), bundle, "core-team")
    good, other = bundle_of(files, own), bundle_of(files, own)
    with pytest.raises(Denied, match="does not cover"):
        releases.publish(statement(base, files, good), other, "core-team")
    with pytest.raises(Invalid):
        releases.publish(statement(base, files, good), b"{}", "core-team")
    with base.database.session() as session:
        assert registry.all_releases(session) == []


def test_unknown_models_and_wrong_versions_are_refused(releases: Releases) -> None:
    with pytest.raises(NotFound, match="tiny-7"):
        releases.prepare("tiny-7", "1.0")
    for version in ("", "1.0\n---\nlicense: mit", "V1", "-1", "x" * 41):
        with pytest.raises(Invalid, match="no version"):
            releases.prepare("tiny-1", version)
