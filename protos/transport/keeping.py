"""A party's credentials on disk: the authorities, and one private file of key and certificate, which change together."""

from __future__ import annotations

from pathlib import Path

from protos.transport.channel import Credentials
from trust.errors import Invalid
from trust.files import write_atomic, write_private
from trust.keys import read_secret_file

AUTHORITIES = "ca.crt"
CLIENT = "client.pem"
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def write_credentials(folder: Path, credentials: Credentials) -> None:
    """The authorities first: a hub that changes them over is known before and after."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(folder / AUTHORITIES, credentials.authority)
    write_private(folder / CLIENT, credentials.key + credentials.certificate)


def read_credentials(folder: Path) -> Credentials:
    """Raises `NotFound` where none are, `Denied` where others may read them, `Invalid` for a damaged file."""
    data = read_secret_file(folder / CLIENT)
    key, begin, certificate = data.partition(_BEGIN)
    if not begin:
        raise Invalid(f"{folder / CLIENT} is damaged: it holds no certificate.")
    return Credentials((folder / AUTHORITIES).read_bytes(), begin + certificate, key)
