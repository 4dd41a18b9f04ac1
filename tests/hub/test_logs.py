from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hub import logs
from trust.digests import digest_bytes
from trust.invitations import Invitation
from trust.keys import ArtifactKey, LogKey, WitnessKey


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


def test_a_private_key_inside_a_traceback_is_redacted_over_its_lines(written: io.StringIO) -> None:
    """Line by line, only the first would look like a key."""
    pem = ArtifactKey.generate().private_pem().decode()
    try:
        raise RuntimeError(f"cannot read\n{pem}there")
    except RuntimeError:
        logging.getLogger("hub").exception("a call failed", stack_info=True)
    text = written.getvalue()
    assert not [line for line in pem.splitlines() if line in text]
    assert "  (redacted)\n  there" in text


@pytest.mark.parametrize("kind", [LogKey, WitnessKey])
def test_the_keys_of_log_and_witnesses_are_redacted(
    written: io.StringIO, tmp_path: Path, kind: type[LogKey] | type[WitnessKey]
) -> None:
    kind.generate("europe").save(tmp_path / "key")
    secret = (tmp_path / "key").read_text().strip()
    logging.getLogger("hub").error("the key %s is damaged", secret)
    assert written.getvalue().endswith("the key (redacted) is damaged\n")


def test_a_token_in_capitals_and_a_bare_secret_are_redacted_and_digests_are_not(written: io.StringIO) -> None:
    """An invitation is decoded in either case; 32 bytes in hexadecimal are a secret unless they say that they are a digest."""
    token = Invitation.create(digest_bytes(b"authority"), 9091).encode().upper()
    digest, secret = digest_bytes(b"data"), "5A" * 32
    logging.getLogger("hub").error("%s %s %s blobs/sha256/%s", token, secret, digest, "ab" * 32)
    assert written.getvalue().endswith(f"(redacted) (redacted) {digest} blobs/sha256/{'ab' * 32}\n")


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(logs.one_line(text).splitlines()) <= 1
