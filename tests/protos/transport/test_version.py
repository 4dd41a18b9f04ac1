"""Which release runs at either end is told, and what a site says where they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from protos.transport.version import differing, installed


def test_a_release_is_what_the_first_distribution_on_the_path_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "coalition-0.0.9.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: coalition\nVersion: 0.0.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed() == "0.0.9"


def test_sources_that_were_never_installed_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    assert installed() == "0"


def test_a_site_of_another_release_names_both() -> None:
    said = "This site runs coalition 0.1.0 and the hub 0.2.0: "
    assert differing("0.2.0", "0.1.0").startswith(said)
    assert differing("0.2.0", "0.1.0").endswith("until 0.2.0 is installed here.")


@pytest.mark.parametrize("hub", ["0.1.0", ""])
def test_a_hub_of_the_same_release_and_one_that_does_not_say_are_no_news(hub: str) -> None:
    assert differing(hub, "0.1.0") == ""
