"""Keys: private ones for their owner alone, public ones only on the right curve."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trust.errors import Denied, Invalid, NotFound
from trust.keys import ArtifactKey, ArtifactPublicKey, LogKey, LogPublicKey


@pytest.mark.parametrize("key", [ArtifactKey.generate(), LogKey.generate("europe")])
def test_a_private_key_is_its_owners_alone(key: ArtifactKey | LogKey, tmp_path: Path) -> None:
    path = tmp_path / "key"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = type(key).load(path)
    loaded.public.verify(key.sign(b"message"), b"message")
    path.chmod(0o640)
    with pytest.raises(Denied, match="read by others"):
        type(key).load(path)


def test_a_missing_or_foreign_file_is_told() -> None:
    with pytest.raises(NotFound):
        ArtifactKey.load("/nowhere/key")


def test_a_key_file_with_rubbish_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"rubbish")
    path.chmod(0o600)
    for kind in (ArtifactKey, LogKey):
        with pytest.raises(Invalid):
            kind.load(path)


def test_signatures_hold_for_one_message_and_one_key() -> None:
    key = ArtifactKey.generate()
    with pytest.raises(Denied):
        key.public.verify(key.sign(b"one"), b"two")
    with pytest.raises(Denied):
        ArtifactKey.generate().public.verify(key.sign(b"one"), b"one")


def test_other_curves_are_refused() -> None:
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(Invalid):
        ArtifactPublicKey.from_pem(pem)


@pytest.mark.parametrize("raw", [b"", b"\0" * 32, b"\x01" + b"\0" * 31, b"\xff" * 32])
def test_log_keys_under_which_signatures_prove_nothing_are_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        LogPublicKey("europe", raw)


def test_a_log_key_signs_as_gos_sumdb_does(tmp_path: Path) -> None:
    """The example of golang.org/x/mod/sumdb/note; Ed25519 signatures are the same everywhere."""
    path = tmp_path / "key"
    path.write_text("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n")
    path.chmod(0o600)
    key = LogKey.load(path)
    assert key.public.encode() == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    assert key.public.key_hash + key.sign(text) == base64.b64decode(line)


def test_a_log_key_whose_base64_holds_a_plus_sign_is_read() -> None:
    """From the tests of transparency-dev/formats."""
    text = "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"
    assert LogPublicKey.decode(text).encode() == text


@pytest.mark.parametrize("name", ["", "two words", "a+b"])
def test_names_that_would_break_a_note_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        LogKey.generate(name)


def test_secrets_do_not_show_in_representations() -> None:
    assert LogKey.generate("europe").seed.hex() not in repr(LogKey.generate("europe"))
    key = ArtifactKey.generate()
    assert "PRIVATE" not in repr(key)
