"""Tree heads: what the log key signed, under its own name, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.encoding import to_base64
from trust.errors import Corrupt, Denied, Invalid, Problem
from trust.keys import LogKey, LogPublicKey
from trust.notes import TreeHead, sign_tree_head, verify_tree_head

KEY = LogKey.generate("europe")
HEAD = TreeHead("europe", 42, b"\x07" * 32)


def test_a_head_reads_as_it_was_signed() -> None:
    note = sign_tree_head(HEAD, KEY)
    assert note.startswith(b"europe\n42\nBwcH")
    assert verify_tree_head(note, KEY.public, "europe") == HEAD


def test_a_witness_may_sign_too() -> None:
    witness = LogKey.generate("witness")
    note = sign_tree_head(HEAD, KEY, witness)
    assert verify_tree_head(note, witness.public, "europe") == HEAD


def test_another_key_or_another_log_is_refused() -> None:
    note = sign_tree_head(HEAD, KEY)
    with pytest.raises(Denied):
        verify_tree_head(note, LogKey.generate("europe").public, "europe")
    with pytest.raises(Corrupt):
        verify_tree_head(note, KEY.public, "asia")


def test_an_extension_line_is_read_over_and_an_empty_one_is_not() -> None:
    def note(text: str) -> bytes:
        signature = to_base64(KEY.public.key_hash + KEY.sign(text.encode()))
        return f"{text}\n— europe {signature}\n".encode()

    assert verify_tree_head(note(HEAD.text() + "extension\n"), KEY.public, "europe") == HEAD
    for text in (HEAD.text() + "\nafter a gap\n", HEAD.text() + "tab\there\n", "europe\n42\n"):
        with pytest.raises(Invalid):
            verify_tree_head(note(text), KEY.public, "europe")


def test_a_signature_that_is_too_short_is_refused() -> None:
    note = f"{HEAD.text()}\n— europe {to_base64(KEY.public.key_hash)}\n".encode()
    with pytest.raises(Denied):
        verify_tree_head(note, KEY.public, "europe")


def test_signatures_of_strangers_are_read_over_also_under_our_name() -> None:
    note = sign_tree_head(HEAD, LogKey.generate("stranger"), LogKey.generate("europe"), KEY)
    assert verify_tree_head(note, KEY.public, "europe") == HEAD


@pytest.mark.parametrize(
    "head",
    [
        TreeHead("", 1, b"\0" * 32),
        TreeHead("two\nlines", 1, b"\0" * 32),
        TreeHead("a", -1, b"\0" * 32),
        TreeHead("a", 1, b""),
        TreeHead("a\tb", 1, b"\0" * 32),
    ],
)
def test_a_head_that_would_not_read_back_is_not_signed(head: TreeHead) -> None:
    with pytest.raises(Invalid):
        sign_tree_head(head, KEY)


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    note = bytearray(sign_tree_head(HEAD, KEY))
    place = data.draw(st.integers(0, len(note) - 1))
    note[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Problem):
        verify_tree_head(bytes(note), KEY.public, "europe")


@pytest.mark.parametrize(
    "text", [b"", b"europe\n42\n", b"europe\n042\nAAAA\n\n\xe2\x80\x94 europe AAAA\n", b"\xff\n\n"]
)
def test_what_is_no_note_is_refused(text: bytes) -> None:
    with pytest.raises((Invalid, Denied)):
        verify_tree_head(text, KEY.public, "europe")


def test_the_verifier_key_is_written_as_gos_sumdb_writes_it() -> None:
    """The example key of golang.org/x/mod/sumdb/note."""
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert LogPublicKey.decode(text).encode() == text
    with pytest.raises(Invalid, match="mistyped"):
        LogPublicKey.decode(text.replace("c74f", "c74e"))
