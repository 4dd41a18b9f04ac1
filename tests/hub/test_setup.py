"""Making a hub: whole or not at all, private keys private, settings in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.settings import Settings
from hub.setup import create
from trust.certificates import Authority
from trust.errors import Conflict, Invalid, NotFound


def make(directory: Path, name: str = "europe", port: int = 9090) -> Settings:
    return create(directory, name, host="hub.example.org", bind="127.0.0.1", port=port)


def test_a_hub_is_made_and_read_back(tmp_path: Path) -> None:
    made = make(tmp_path / "hub")
    loaded = Settings.load(tmp_path / "hub")
    assert loaded == made
    assert (loaded.port, loaded.enrol_port, loaded.superlink_port) == (9090, 9091, 9092)
    assert Authority.load(loaded.authority_dir).hub == "europe"


def test_private_keys_are_the_operators_alone(tmp_path: Path) -> None:
    settings = make(tmp_path / "hub")
    for key in (settings.authority_dir / "ca.key", settings.tls_key, settings.log_key, settings.statement_key):
        assert key.stat().st_mode & 0o777 == 0o600


def test_an_existing_hub_is_not_overwritten(tmp_path: Path) -> None:
    settings = make(tmp_path / "hub")
    before = settings.log_key.read_bytes()
    with pytest.raises(Conflict):
        make(tmp_path / "hub", "asia")
    assert settings.log_key.read_bytes() == before


@pytest.mark.parametrize(("name", "port"), [("UPPER CASE", 9090), ("europe", 0), ("europe", 65_534)])
def test_names_and_ports_that_cannot_be_used_are_refused(tmp_path: Path, name: str, port: int) -> None:
    with pytest.raises(Invalid):
        make(tmp_path / "hub", name, port)
    assert not (tmp_path / "hub").exists()


def test_the_environment_overrides_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "hub")
    monkeypatch.setenv("COALITION_DATABASE", "postgresql://db.example.org/coalition")
    assert Settings.load(tmp_path / "hub").database_url == "postgresql://db.example.org/coalition"


def test_no_hub_and_a_broken_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Settings.load(tmp_path)
    (tmp_path / "hub.toml").write_text("name = ")
    with pytest.raises(Invalid, match=r"hub\.toml"):
        Settings.load(tmp_path)
