"""Whose sites take part in a campaign, and with which keys: as the ledger has it, never as a hub's message says."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from contributors.site.kept import keep, kept
from protos.documents.base import Document, Identifier
from protos.documents.masking import Seat
from trust.errors import Denied

HEARING = 30.0
"""Seconds that a consent which the hub knows may take to be heard here."""


class Consented(Document):
    """A campaign's consents that count."""

    campaign: Identifier
    seats: tuple[Seat, ...]


class Peers(Document):
    """Of all campaigns. The site writes them, its training process reads them before every sum."""

    campaigns: tuple[Consented, ...] = ()

    def of(self, campaign: str) -> frozenset[Seat]:
        return frozenset(seat for each in self.campaigns if each.campaign == campaign for seat in each.seats)


def write_peers(home: Path, peers: Peers) -> None:
    keep(_file(home), peers)


def read_peers(home: Path) -> Peers:
    return kept(_file(home), Peers) or Peers()


def check_seats(home: Path, campaign: str, seats: Iterable[Seat], patience: float = HEARING) -> None:
    """That each of the seats is of a member whose consent to the campaign names this key. One that is new is waited for. Raises
    `Denied`."""
    until = time.monotonic() + patience
    while strangers := set(seats) - read_peers(home).of(campaign):
        if time.monotonic() >= until:
            name = min(seat.member for seat in strangers)
            raise Denied(
                f"The ledger, as this site knows it, has no consent of {name} with the key that the hub names."
            )
        time.sleep(0.5)


def _file(home: Path) -> Path:
    return home / "site" / "peers.json"
