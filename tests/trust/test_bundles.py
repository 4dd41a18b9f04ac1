"""Signed folders: exactly the files that were signed, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trust.bundles import MEDIA_TYPE, folder_files, folder_statement, open_bundle, sign_folder, verify_folder
from trust.dsse import seal
from trust.errors import Corrupt, Denied, Invalid, Problem
from trust.keys import ArtifactKey, ArtifactPublicKey

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


GOLDEN = Path(__file__).parent / "golden" / "model_signing-1.1.1"
GIT = (".git", ".gitattributes", ".github", ".gitignore")  # what that program leaves out by itself


def test_a_bundle_of_the_public_program_verifies(tmp_path: Path) -> None:
    """Made with `model_signing sign key` 1.1.1, which lists `a/c` before `a-b/c`."""
    for name, text in {"a/c": "1", "a-b/c": "2", "a/x.txt": "3", "z": ""}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    key = ArtifactPublicKey.from_pem((GOLDEN / "signer.pem").read_bytes())
    bundle = (GOLDEN / "model.sig").read_bytes()
    assert sorted(verify_folder(tmp_path, bundle, key, GIT).files) == ["a-b/c", "a/c", "a/x.txt", "z"]
    (tmp_path / "z").write_text("more")
    with pytest.raises(Corrupt, match="changed"):
        verify_folder(tmp_path, bundle, key, GIT)


def test_a_bundle_whose_subject_is_not_its_files_is_refused(folder: Path) -> None:
    statement = json.loads(folder_statement("release", folder_files(folder, UNSIGNED)))
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    with pytest.raises(Corrupt, match="subject"):
        open_bundle(sealed(statement), KEY.public)


def test_a_bundle_of_shards_or_of_other_hashes_is_refused(folder: Path) -> None:
    for where, value in (("method", "shards"), ("algorithm", "blake3")):
        statement = json.loads(folder_statement("release", folder_files(folder, UNSIGNED)))
        part = statement["predicate"]["serialization" if where == "method" else "resources"]
        (part if isinstance(part, dict) else part[0])[where] = value
        with pytest.raises(Invalid, match="whole files"):
            open_bundle(sealed(statement), KEY.public)


def sealed(statement: object) -> bytes:
    envelope = json.loads(seal(json.dumps(statement).encode(), KEY))
    return json.dumps({"mediaType": MEDIA_TYPE, "dsseEnvelope": envelope}).encode()
