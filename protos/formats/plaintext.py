"""Plain text: UTF-8 without control characters, one document a file."""

from __future__ import annotations

import re
from pathlib import Path

from trust.errors import Invalid

MAX_BYTES = 4 << 20
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def document(path: Path, name: str) -> str:
    """The whole text. Raises `Invalid` where it is too long, not UTF-8 or holds control characters."""
    if path.stat().st_size > MAX_BYTES:
        raise Invalid(f"{name} has more than {MAX_BYTES} bytes; one text is one document.", "Split it.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} is not UTF-8 at byte {error.start}.") from None
    if found := CONTROL.search(text):
        raise Invalid(f"{name} holds the control character U+{ord(found.group()):04X} at character {found.start()}.")
    return text
