"""Which names a manifest may hold: a table of those that must be refused, alone and together."""

from __future__ import annotations

import pytest

from protos.documents.base import FileEntry
from protos.documents.names import check_names
from trust.errors import Invalid

DIGEST = "sha256:" + "0" * 64
REFUSED = [
    "", "/", "/etc/passwd", "..", "../x", "a/..", "a/../b", "a/./b", "./a", "a//b", "a/", "//a", "~", "~root/x",
    ".hidden", "a/.ssh", "C:\\x", "C:x", "a\\b", "\\\\host\\share", "a\x00b", "a\nb", "a\rb", "a\tb",
    "a\x1b[2Jb", "a\x7fb", "a b", " a", "a ", "a\n", "-rf", "a\u202egnp.exe", "a\u2066b", "a\u200fb",
    "a\u200bb", "a\ufeffb", "caf\xe9", "cafe\u0301", "\u0430dmin", "\uff0e\uff0e/x", "a\u2215b", "a\ud800",
    "a:stream", "a*b", "a?b", 'a"b', "a<b", "a>b", "a|b", "%2e%2e/x", "a;b", "$(x)", "`x`", "a'b", "a&b",
    "a/b/c/d/e",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
]  # fmt: skip


@pytest.mark.parametrize("path", REFUSED, ids=ascii)
def test_a_name_that_is_more_than_a_name_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        FileEntry.read({"path": path, "digest": DIGEST, "size": 1})


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["data.jsonl", "data.jsonl"], "one file"),
        (["data.jsonl", "Data.JSONL"], "one file"),
        (["a/b", "A/B"], "one file"),
        (["a", "a/b"], "the folder of"),
        (["A/b/c", "a/B"], "the folder of"),
        (["con"], "everywhere"),
        (["NUL.jsonl"], "everywhere"),
        (["a/com1.txt/b"], "everywhere"),
        (["trailing."], "everywhere"),
    ],
)
def test_names_that_are_not_two_files_everywhere_are_refused(paths: list[str], why: str) -> None:
    for path in paths:
        FileEntry.read({"path": path, "digest": DIGEST, "size": 1})
    with pytest.raises(Invalid, match=why):
        check_names(paths)


def test_ordinary_names_pass() -> None:
    check_names(
        ["data-00000.jsonl", "data-00001.jsonl", "croissant.json", "sub/data.parquet", "subdata", "console.txt"]
    )
