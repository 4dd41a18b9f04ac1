"""Who takes part, with what the rooms count for them: what the ledger says now, however often it is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hub.members.service import MembersService
from hub.submissions import catalogue
from protos.coalition.v1.members_pb2 import ListMembersRequest
from tests.hub.conftest import Base, make_authorities
from tests.hub.submissions.room import US, Room


def test_what_members_gave_is_counted_anew_when_the_ledger_has_grown(base: Base, tmp_path: Path) -> None:
    base.enrol(US)
    room = Room.of(base, tmp_path / "screening")
    certification = base.certification(make_authorities(base.directory))
    service = MembersService(base.database, (catalogue.tally,), base.journal, certification)

    def datasets() -> int:
        listed = asyncio.run(service.ListMembers(ListMembersRequest(), None)).members
        return next(member.datasets for member in listed if member.id == US)

    for given in range(3):
        assert datasets() == given
        assert datasets() == given
        if given < 2:
            room.submit(US, f"given-{given}", [given])
    room.screener.stop()
