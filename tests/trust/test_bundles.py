"""Signed folders: exactly the files that were signed, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trust.bundles import MEDIA_TYPE, open_bundle, sign_folder, verify_folder
from trust.errors import Corrupt, Denied, Invalid, Problem
from trust.keys import ArtifactKey

KEY = ArtifactKey.generate()
UNSIGNED = ("model.sig", "keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"\0" * 1000)
    (folder / "sub" / "notes.txt").write_text("notes")
    (folder / "keys").mkdir()
    (folder / "keys" / "signer.pem").write_bytes(KEY.public.pem())
    return folder


def test_a_folder_verifies_as_it_was_signed(folder: Path) -> None:
    bundle = sign_folder(folder, KEY, UNSIGNED)
    (folder / "model.sig").write_bytes(bundle)
    signed = verify_folder(folder, bundle, KEY.public, UNSIGNED)
    assert sorted(signed.files) == ["model.safetensors", "sub/notes.txt"]
    assert json.loads(bundle)["mediaType"] == MEDIA_TYPE


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "model.safetensors").write_bytes(b"\0" * 999 + b"\1"),
        lambda f: (f / "sub" / "notes.txt").unlink(),
        lambda f: (f / "added.py").write_text("import os"),
        lambda f: (f / "sub" / "notes.txt").rename(f / "sub" / "other.txt"),
        lambda f: (f / "link").symlink_to("/etc/passwd"),
        lambda f: (f / "outside").symlink_to("/etc"),
    ],
)
def test_whatever_changes_is_noticed(folder: Path, change: Callable[[Path], object]) -> None:
    bundle = sign_folder(folder, KEY, UNSIGNED)
    change(folder)
    with pytest.raises(Corrupt):
        verify_folder(folder, bundle, KEY.public, UNSIGNED)


def test_another_signer_is_refused(folder: Path) -> None:
    with pytest.raises(Denied):
        verify_folder(folder, sign_folder(folder, ArtifactKey.generate(), UNSIGNED), KEY.public, UNSIGNED)


def test_a_bundle_cannot_excuse_files_that_the_verifier_expects_signed(folder: Path) -> None:
    bundle = sign_folder(folder, KEY, (*UNSIGNED, "model.safetensors"))
    with pytest.raises(Denied, match="unsigned"):
        verify_folder(folder, bundle, KEY.public, UNSIGNED)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"mediaType": "x"}', b'{"mediaType": "' + MEDIA_TYPE.encode() + b'"}'])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        open_bundle(data, KEY.public)


def test_every_byte_of_the_bundle_counts_or_changes_nothing(folder: Path) -> None:
    bundle = sign_folder(folder, KEY, UNSIGNED)
    honest = open_bundle(bundle, KEY.public)
    for place in range(0, len(bundle), 7):
        changed = bytearray(bundle)
        changed[place] ^= 1
        try:
            assert open_bundle(bytes(changed), KEY.public) == honest
        except Problem:
            continue
