"""Everything screened again takes as long as there is text, not as there are pairs of datasets."""

from __future__ import annotations

from sqlalchemy import event

from tests.hub.submissions.room import OTHERS, US, Room


def statements_of_screening_again(room: Room) -> int:
    """How often the submissions are asked for from the first to the last, while everything is screened again."""
    asked: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "ORDER BY submission" in statement:
            asked.append(statement)

    event.listen(room.base.database.engine, "before_cursor_execute", hear)
    try:
        for going in room.intake.screen_again().values():
            going.result(60)
    finally:
        event.remove(room.base.database.engine, "before_cursor_execute", hear)
    return len(asked)


def test_what_is_compared_with_is_read_once_however_many_datasets_there_are(room: Room) -> None:
    room.submit(US, "first", [0])
    few = statements_of_screening_again(room)
    room.submit(US, "second", [1])
    room.submit(OTHERS, "third", [2])
    assert statements_of_screening_again(room) == few > 0
