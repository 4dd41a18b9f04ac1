"""Base64 (RFC 4648) in which every byte string has exactly one spelling."""

from __future__ import annotations

import base64
import binascii

from trust.errors import Invalid


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """Decode standard base64; strange characters, missing padding and stray bits are refused in the name of `what`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{what} is not base64.") from error
    if to_base64(data) != text:
        raise Invalid(f"{what} is base64 in a spelling that is not the usual one.")
    return data
