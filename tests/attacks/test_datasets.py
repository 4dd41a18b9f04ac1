"""Attacks by what a dataset's files are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from contributors.packing import list_dataset, pack_dataset
from protos.documents.submissions import DatasetFile
from trust.digests import digest_bytes
from trust.errors import Invalid

NAMES = (
    *("../up.jsonl", "/etc/passwd", "a/../b", "a//b", "./a", ".hidden", "a\\b", "a\x00b", "a\nb", "C:\\a", ""),
    *("a\u202egnp.jsonl", "café", "ａ", "a/b/c/d/e", "x" * 101),
)


@pytest.mark.parametrize("name", NAMES)
def test_attack_24_a_name_that_is_no_plain_name_is_in_no_manifest(name: str) -> None:
    """Traversal, absolute, hidden, NUL, control, bidirectional and non-ASCII names are refused by the closed schema."""
    with pytest.raises(Invalid, match="path"):
        DatasetFile.read({"path": name, "digest": digest_bytes(b"x"), "size": 1, "rows": 1})


def test_attack_24_links_and_names_of_a_folder_do_not_leave_it(tmp_path: Path) -> None:
    """Links are left out, and what is packed or declared gets names of ours: none of the folder's own stand in a manifest."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a\u202etxt.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "secret.txt").write_text("elsewhere")
    (source / "link.txt").symlink_to(tmp_path / "secret.txt")
    for packed in (pack_dataset(source, tmp_path / "packed"), list_dataset(source)):
        assert [file.path for file in packed.files] == ["data-00000.jsonl"]
        assert packed.rows == 1
        assert packed.left_out == ("link.txt",)
