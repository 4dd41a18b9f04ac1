"""Cosignatures: the ones that hold are found, by whom and of when; everything else proves nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.cosignatures import cosign, cosignatures, with_cosignatures
from trust.errors import Denied, Invalid
from trust.keys import LogKey, LogPublicKey, WitnessKey, WitnessPublicKey
from trust.notes import TreeHead, sign_tree_head, verify_tree_head

LOG = LogKey.generate("europe")
HEAD = TreeHead("europe", 42, b"\x07" * 32)
NOTE = sign_tree_head(HEAD, LOG)
LAW, UNI = WitnessKey.generate("europe/law"), WitnessKey.generate("europe/uni")

# Made by another implementation (github.com/transparency-dev/formats v0.1.1 with golang.org/x/mod/sumdb/note).
VECTOR_LOG = "example.com/vector-log+4516a1da+ARGkVJ4QEa2MOOLGBO6i7NVSJ1FQ97tIX+w+Ku0RZ6Em"
VECTOR_KEY = "PRIVATE+KEY+witness.example.com/vector+416f103d+BJEX3xv88eoQIKT4E+GkxZcXaJCYlQfi/GJ3NDFmZIW8"
VECTOR_WITNESS = "witness.example.com/vector+416f103d+BK/QmJFVP3SKJOqAMhFxBQPtylo3sjwWibyFDAlZKK8B"
VECTOR_TIME = 1791014171
VECTOR_NOTE = (
    "example.com/vector-log\n1234\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n\n"
    "— example.com/vector-log RRah2qlLrSlk6J8DA1HmNewppUM15Quhs5cAIb1KjBsV3otVirJTW8AFVsQtJkTW1Zny7GuoAxZpI6bUPcpM68QOIgE=\n"
).encode()
VECTOR_LINE = (
    "— witness.example.com/vector "
    "QW8QPQAAAABqwLUbDdj7sDNRIVjmjYgqFI6y4UJhPg/UAA8J8wAdqSd3q4PedRhkgXA4xFN/Jg5uWn7ZkBA+H/UHQs5d9hITdXmQAA==\n"
).encode()


def test_another_implementations_cosignature_is_read_and_made(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(VECTOR_KEY)
    path.chmod(0o600)
    key = WitnessKey.load(path)
    assert key.public.encode() == VECTOR_WITNESS
    assert cosign(VECTOR_NOTE, key, VECTOR_TIME) == VECTOR_LINE
    note = with_cosignatures(VECTOR_NOTE, [VECTOR_LINE])
    (found,) = cosignatures(note, [WitnessPublicKey.decode(VECTOR_WITNESS)])
    assert (found.time, found.line) == (VECTOR_TIME, VECTOR_LINE)
    assert verify_tree_head(note, LogPublicKey.decode(VECTOR_LOG), "example.com/vector-log").size == 1234


def test_each_witness_counts_once_with_its_newest_time() -> None:
    note = with_cosignatures(NOTE, [cosign(NOTE, LAW, 5), cosign(NOTE, LAW, 9), cosign(NOTE, UNI, 7)])
    assert [(c.witness, c.time) for c in cosignatures(note, [LAW.public, UNI.public])] == [
        (LAW.public, 9),
        (UNI.public, 7),
    ]
    renamed = WitnessPublicKey("europe/another", LAW.public.raw)
    both = with_cosignatures(note, [cosign(NOTE, WitnessKey("europe/another", LAW.seed), 5)])
    assert len(cosignatures(both, [LAW.public, renamed])) == 1  # one key under two names is one witness


def test_a_head_stays_the_logs_under_cosignatures() -> None:
    note = with_cosignatures(NOTE, [cosign(NOTE, LAW, 5)])
    assert verify_tree_head(note, LOG.public, "europe") == HEAD
    with pytest.raises(Denied):  # a cosignature is no signature of a head: its bytes say something else
        verify_tree_head(note, LogPublicKey(LAW.name, LAW.public.raw), "europe")


@given(st.data())
def test_one_wrong_bit_and_the_cosignature_is_gone(data: st.DataObject) -> None:
    line = cosign(NOTE, LAW, 1_700_000_000)
    note = bytearray(with_cosignatures(NOTE, [line]))
    start = note.index(line)
    position = data.draw(st.one_of(st.integers(0, len(HEAD.text().encode()) - 1), st.integers(start, len(note) - 1)))
    note[position] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(Invalid):
        assert cosignatures(bytes(note), [LAW.public]) == []


def test_anothers_note_time_or_length_proves_nothing() -> None:
    other = sign_tree_head(TreeHead("europe", 43, b"\x07" * 32), LOG)
    assert cosignatures(with_cosignatures(other, [cosign(NOTE, LAW, 5)]), [LAW.public]) == []
    assert cosignatures(with_cosignatures(NOTE, [cosign(NOTE, UNI, 5)]), [LAW.public]) == []
    assert cosignatures(sign_tree_head(HEAD, LogKey(LAW.name, LAW.seed)), [LAW.public]) == []
    for time in (-1, 2**63):
        with pytest.raises(Invalid):
            cosign(NOTE, LAW, time)


def test_a_note_that_nobody_could_read_is_not_made() -> None:
    with pytest.raises(Invalid):
        with_cosignatures(NOTE, [cosign(NOTE, LAW, 5)] * 1000)
    with pytest.raises(Invalid):
        with_cosignatures(NOTE, [b"anything\n"])


def test_a_witness_key_is_no_log_key() -> None:
    with pytest.raises(Invalid, match="not a log key"):
        LogPublicKey.decode(LAW.public.encode())
    with pytest.raises(Invalid, match="not a witness key"):
        WitnessPublicKey.decode(LOG.public.encode())
    assert WitnessPublicKey.decode(LAW.public.encode()) == LAW.public
