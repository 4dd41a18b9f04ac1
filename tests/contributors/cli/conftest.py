"""The `coalition` command, run in this process through its entry point."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contributors.cli.main import main
from tests.contributors.conftest import base, database, database_url, hub  # noqa: F401  (fixtures)


@dataclass
class Said:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Coalition = Callable[..., Said]


@pytest.fixture
def coalition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Coalition:
    """`coalition("data", "list", home=...)`; without `home`, one that is not enrolled."""

    def call(*words: object, home: Path = tmp_path / "nobody") -> Said:
        monkeypatch.setenv("COALITION_HOME", str(home))
        monkeypatch.setattr("sys.argv", ["coalition", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err
        code = ended.value.code
        return Said(code if isinstance(code, int) else int(bool(code)), printed.out, printed.err)

    return call
