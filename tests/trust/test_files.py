"""Files that are there whole or not at all, and digests in one spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from trust.digests import Hasher, digest_bytes, digest_file, parse_digest
from trust.errors import Invalid
from trust.files import write_atomic, write_private


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"old")
    with pytest.raises(TypeError):
        write_atomic(target, "text")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_secrets_are_private_from_the_first_byte(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", b"x")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_digest_is_the_same_however_the_bytes_come(tmp_path: Path) -> None:
    data = b"abc" * 1_000_000
    (tmp_path / "file").write_bytes(data)
    hasher = Hasher()
    for start in range(0, len(data), 999_983):
        hasher.update(data[start : start + 999_983])
    assert digest_bytes(data) == digest_file(tmp_path / "file") == hasher.digest()


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha1:" + "0" * 40, "sha256:" + "0" * 63, " sha256:" + "0" * 64]
)
def test_other_spellings_are_no_digest(text: str) -> None:
    with pytest.raises(Invalid):
        parse_digest(text)
