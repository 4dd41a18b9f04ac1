from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hub import logs
from trust.digests import digest_bytes
from trust.invitations import Invitation
from trust.keys import ArtifactKey


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    file = io.StringIO()
    logs.configure(Console(file=file, force_terminal=False))
    yield file
    root.handlers[:], root.level = before


def test_a_record_is_a_line_of_time_level_source_and_message(written: io.StringIO) -> None:
    logging.getLogger("hub.server").info("hub %s serves on %d", "europe", 9090)
    (line,) = written.getvalue().splitlines()
    time, level, source, message = line.split(" ", 3)
    assert time.endswith("Z")
    assert (level, source, message) == ("INFO", "hub.server", "hub europe serves on 9090")


def test_what_others_wrote_forges_no_line(written: io.StringIO) -> None:
    logging.getLogger("hub").warning("%s", "refused\n2026-01-01T00:00:00Z INFO hub all is well\x1b[2K\u202e")
    (line,) = written.getvalue().splitlines()
    assert "refused\\n2026-01-01" in line
    assert "\\x1b[2K\\u202e" in line


def test_a_traceback_is_indented_under_its_record(written: io.StringIO) -> None:
    try:
        raise RuntimeError("it said\nINFO hub all is well")
    except RuntimeError:
        logging.getLogger("hub").exception("a call failed")
    first, *rest = written.getvalue().splitlines()
    assert first.endswith("a call failed")
    assert rest
    assert all(line.startswith("  ") for line in rest)


def test_tokens_and_private_keys_are_redacted(written: io.StringIO) -> None:
    token = Invitation.create(digest_bytes(b"authority"), 9091).encode()
    key = ArtifactKey.generate()
    logging.getLogger("hub").error("token %s key %s end", token, key.private_pem().decode())
    text = written.getvalue()
    assert token not in text
    assert "BEGIN" not in text
    assert text.count("(redacted)") == 2
    assert text.endswith("end\n")


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(logs.one_line(text).splitlines()) <= 1
