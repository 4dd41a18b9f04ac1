"""The site's key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from contributors.site.keys import site_key
from trust.errors import Denied, Invalid


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = site_key(tmp_path)
    assert site_key(tmp_path) == first
    assert stat.S_IMODE(first.private_path.stat().st_mode) == 0o600
    assert first.public_line.startswith(b"ecdsa-sha2-nistp384 ")
    private = load_ssh_private_key(first.private_path.read_bytes(), None)
    assert private.public_key() == load_ssh_public_key(first.public_line)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    site_key(tmp_path).private_path.chmod(0o644)
    with pytest.raises(Denied):
        site_key(tmp_path)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = site_key(tmp_path).private_path
    path.write_bytes(b"no key")
    with pytest.raises(Invalid):
        site_key(tmp_path)
