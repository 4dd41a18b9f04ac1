"""A suite's files from a folder, or from a pipe, where they lie on no disk."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hub.evaluation import local
from hub.settings import SANDBOX, demanded
from tests.hub.evaluation.conftest import suite_files, write
from trust.errors import Invalid, NotFound


def packed(*entries: tarfile.TarInfo, files: dict[str, bytes] | None = None) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, body in (files or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        for entry in entries:
            tar.addfile(entry)
    made.seek(0)
    return made


def test_a_tar_and_a_folder_say_the_same(tmp_path: Path) -> None:
    files = suite_files()
    assert local.from_tar(packed(files=files)) == local.from_folder(write(tmp_path, files)) == files


def test_what_is_no_suite_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo("suite.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(Invalid, match="is no file"):
        local.from_tar(packed(link))
    with pytest.raises(Invalid, match="no tar"):
        local.from_tar(io.BytesIO(b"not a tar at all" * 100))
    with pytest.raises(NotFound, match=r"no suite\.json"):
        local.from_folder(tmp_path)
    monkeypatch.setattr(local, "MAX_SUITE", 1000)
    with pytest.raises(Invalid, match="more than 1000 bytes"):
        local.from_tar(packed(files={"a.jsonl": bytes(600), "b.jsonl": bytes(600)}))
    with pytest.raises(Invalid, match="more than 1000 bytes"):
        local.from_folder(write(tmp_path, {"suite.json": bytes(1001)}))


async def test_a_folder_without_a_model_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no folder"):
        await local.evaluate(tmp_path / "nowhere", suite_files(), SANDBOX)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotFound, match=f"{tmp_path} holds no model: it lacks tokenizer.json, model.safetensors"):
        await local.evaluate(tmp_path, suite_files(), SANDBOX)


def test_layers_are_named_in_a_list() -> None:
    assert demanded(",".join(SANDBOX)) == SANDBOX
    assert demanded("landlock, seccomp") == ("landlock", "seccomp")
    with pytest.raises(Invalid):
        demanded("firewall")
