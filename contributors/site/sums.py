"""Which list of survivors this site signed last in each campaign: on the disk before the signature leaves.

Two sums of one round over different members would tell their difference, which may be one member's update. So who signed a
round's list takes part in another sum of that round only with just its members, and signs no other list.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from contributors.site.locking import alone
from protos.documents.base import Document, Identifier
from protos.documents.masking import Session
from trust.errors import Corrupt, Denied, Invalid
from trust.files import write_private


class Signed(Document):
    """The newest round of a campaign of which we signed who is in the sum."""

    campaign: Identifier
    round: int = Field(ge=1)
    survivors: tuple[Identifier, ...]


class Sums(Document):
    """Of all campaigns."""

    campaigns: tuple[Signed, ...] = ()

    def of(self, campaign: str) -> Signed | None:
        return next((each for each in self.campaigns if each.campaign == campaign), None)


def check_another(known: Signed | None, session: Session) -> None:
    """That what we signed before allows us a part in this sum. Raises `Denied`."""
    if known is None or session.round > known.round:
        return
    if session.round < known.round:
        raise Denied(f"This site has signed a sum of round {known.round}, and takes part in none of a round before.")
    if session.members != known.survivors:
        raise Denied(
            f"This site has signed a sum of round {known.round}, of {', '.join(known.survivors)}: another one would tell the"
            " difference."
        )


def read_sums(home: Path) -> Sums:
    """Raises `Corrupt` for a file that was changed by hand."""
    path = _file(home)
    try:
        return Sums.read(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Sums()
    except (Invalid, ValueError):
        raise Corrupt("The record of the sums that this site signed cannot be read.", f"Restore {path}.") from None


def note_signed(home: Path, session: Session, survivors: tuple[str, ...]) -> None:
    """Keep a list durably: only then may it be signed. Raises `Denied` where another was signed, `Corrupt`."""
    with alone(home, "sums"):
        known = read_sums(home)
        before = known.of(session.campaign)
        check_another(before, session)
        if before is not None and before.round == session.round and before.survivors != survivors:
            raise Denied(f"This site has signed another list of those in the sum of round {session.round}.")
        signed = Signed(campaign=session.campaign, round=session.round, survivors=survivors)
        others = (each for each in known.campaigns if each.campaign != session.campaign)
        write_private(_file(home), Sums(campaigns=(*others, signed)).model_dump_json().encode())


def _file(home: Path) -> Path:
    return home / "site" / "sums.json"
