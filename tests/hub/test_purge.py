"""`coalition-hub purge`: an operator looks at what nobody needs, and has it deleted; the database is rebuilt to the same."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub import setup
from hub.cli import app
from hub.database import Database
from hub.dump import dump
from hub.holding import held
from hub.purge import purge
from hub.rebuild import rebuild
from hub.settings import Settings
from protos.documents.submissions import Withdrawal
from tests.dashboards.history import History
from tests.hub.conftest import database_url  # noqa: F401  (a fixture)
from trust.errors import Conflict


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: F811
    """A hub that does not run, with a withdrawn dataset and one that stands."""
    if not database_url.startswith("sqlite"):
        monkeypatch.setenv("COALITION_DATABASE", database_url)
    setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)
    return Settings.load(tmp_path / "hub")


@pytest.fixture
def withdrawn(settings: Settings) -> str:
    history = History(settings)
    history.enrol("core-team", "core")
    history.enrol("owner", "contributor")
    history.dataset("owner", "law")
    submission = history.dataset("owner", "medicine")
    history.record(Withdrawal(hub="europe", signer="owner", submission=submission))
    history.close()
    for path in (settings.blobs_dir / "sha256").glob("*/*"):
        os.utime(path, (0, 0))
    return submission


def blobs(settings: Settings) -> set[str]:
    return {path.name for path in (settings.blobs_dir / "sha256").glob("*/*")}


def said(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_dry_run_says_what_would_go_beside_a_running_hub(settings: Settings, withdrawn: str) -> None:
    before = blobs(settings)
    with held(settings.directory):
        assert f"{withdrawn} is withdrawn; its grace goes on" in said("purge", settings.directory, "--dry-run")
        found = json.loads(said("purge", settings.directory, "--dry-run", "--no-grace", "--json"))
        with pytest.raises(Conflict, match="Another process"):
            purge(settings)
    assert [each["submission"] for each in found["withdrawn"]["recorded"]] == [withdrawn]
    assert found["dry_run"]
    assert blobs(settings) == before


def test_what_is_purged_is_gone_and_the_rebuilt_database_knows_it(settings: Settings, withdrawn: str) -> None:
    before = blobs(settings)
    assert purge(settings).withdrawn.deleted == [], "the grace is seven days"
    found = json.loads(said("purge", settings.directory, "--no-grace", "--json"))
    (gone,) = found["withdrawn"]["deleted"]
    assert before - blobs(settings) == {gone.removeprefix("sha256:")}
    with closing(Database(settings.database_url)) as database:
        lines = list(dump(database))
    assert any(b'"purged": ' in line and b'"purged": null' not in line for line in lines)
    rebuild(settings)
    with closing(Database(settings.database_url)) as database:
        assert list(dump(database)) == lines
    again = purge(settings, no_grace=True)
    assert (again.withdrawn.recorded, again.withdrawn.deleted) == ([], [])


def test_a_hub_that_keeps_what_is_withdrawn_says_so(settings: Settings, withdrawn: str) -> None:
    toml = settings.directory / "hub.toml"
    toml.write_text(toml.read_text().replace('purge_withdrawn = "purge"', 'purge_withdrawn = "keep"'))
    before = blobs(settings)
    words = said("purge", settings.directory, "--no-grace")
    assert "nothing that was withdrawn is purged" in words
    assert blobs(settings) == before
