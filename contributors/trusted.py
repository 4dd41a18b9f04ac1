"""Which public keys a verification rests on: our home's, those that somebody gave us, or those that came with the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contributors.home import Home
from trust.digests import digest_bytes, hex_of
from trust.errors import NotFound
from trust.keys import ArtifactPublicKey, LogPublicKey

LEDGER_KEY = Path("keys") / "ledger.vkey"
HUB_KEY = Path("keys") / "hub.pem"


@dataclass(frozen=True)
class Trusted:
    """Whom a verification rests on. `pinned` says whether we vouch for the keys, or only the files themselves."""

    ledger_key: LogPublicKey
    hub_key: ArtifactPublicKey
    pinned: bool

    @classmethod
    def of(cls, home: Home) -> Trusted:
        """As enrolment pinned them. Raises `NotFound` before it."""
        return cls(home.ledger_key(), home.statement_key(), pinned=True)

    def fingerprint(self) -> str:
        """What to compare with the hub's operators when the keys came with the files."""
        return hex_of(digest_bytes(self.ledger_key.encode().encode() + self.hub_key.pem()))


def trusted_for(home: Home, directory: Path, vkey: str, hub_key: Path | None) -> Trusted:
    """The keys for a copy of a ledger: each as given, else our home's if it is of that ledger, else the one in the copy.

    Raises `NotFound`, `Invalid`.
    """
    ledger = ledger_key_for(home, directory, vkey)
    known = home.enrolled and ledger == home.ledger_key()
    if hub_key is not None:
        hub = ArtifactPublicKey.from_pem(hub_key.read_bytes())
    else:
        hub = home.statement_key() if known else ArtifactPublicKey.from_pem(_shipped(directory / HUB_KEY, "--hub-key"))
    return Trusted(ledger, hub, pinned=known or bool(vkey and hub_key))


def ledger_key_for(home: Home, directory: Path, vkey: str) -> LogPublicKey:
    """The key of tree heads alone. Raises as `trusted_for`."""
    if vkey:
        return LogPublicKey.decode(vkey)
    if home.enrolled:
        return home.ledger_key()
    return LogPublicKey.decode(_shipped(directory / LEDGER_KEY, "--key").decode("utf-8", "replace"))


def _shipped(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise NotFound(
            f"No key of this ledger is known: there is no {path}.",
            f"Give the key that the hub's operators publish: {option}.",
        ) from None
