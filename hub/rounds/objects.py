"""Flower's store of the parts of messages, with what is large in files beside its database (flwr 1.41).

An update's bytes cost SQLite three times what they cost a file: it writes them page by page into its log, from there into the
database, reads all of them to delete them, and has one writer for all sites. So a row says in which file its content lies.

Row and file change together: a file is there before its row says so, and goes when the row's end is committed. No file is shared
by two rows, not even by an object that goes and comes again. What a kill did not let finish is removed at the next start. As in
the database (`synchronous=NORMAL`), what came last may be lost with the machine's power: a file that is not whole counts as lost,
and its message with it, as Flower's runs end with the SuperLink in any case.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from flwr.supercore.state.schema.objectstore_models import StoredObject
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

LARGE: Final = 256 << 10
"""Bytes from which on a content lies in a file."""
MARK: Final = b"\0in the file "
"""How a row begins whose content does. No content of an object does: Flower takes none that does not begin with its type."""
_ROW = 200  # bytes: a mark and more


class Objects(SqlObjectStore):  # type: ignore[misc]
    """In place of Flower's own. The files are named after their objects, each with some chance beside."""

    def __init__(self, database_path: str) -> None:
        super().__init__(database_path, verify=False)  # what it verifies is verified here, before it is written
        self._folder = Path(f"{database_path}.objects")

    def initialize(self, log_queries: bool = False, **engine_kwargs: object) -> list[str]:
        """As Flower's; files that no row names are removed."""
        tables = cast(list[str], super().initialize(log_queries, **engine_kwargs))
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self.session() as session:
            rows = session.scalars(select(func.substr(StoredObject.content, 1, _ROW)))
            named = {place[0] for row in rows if (place := _place(row)) is not None}
        for path in self._folder.iterdir():
            if path.name not in named:
                path.unlink()
        return tables

    def put(self, object_id: str, object_content: bytes) -> None:
        """As Flower's. Raises `ValueError` for content that is not the object's, or no object."""
        if object_id != get_object_id(object_content):
            raise ValueError(f"Object ID {object_id} does not match content hash")
        validate_object_content(content=object_content)
        if len(object_content) < LARGE:
            super().put(object_id, object_content)
            return
        path = self._folder / f"{object_id}-{secrets.token_hex(8)}"
        row = b"%s%s %d" % (MARK, path.name.encode(), len(object_content))
        try:
            path.write_bytes(object_content)
            with self.session() as session:
                _when_over(session, "after_rollback", path)
                super().put(object_id, row)
                if self._row(session, object_id) != row:  # it was there already
                    path.unlink()
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def get(self, object_id: str) -> bytes | None:
        """As Flower's; None for one whose file is lost."""
        content = cast(bytes | None, super().get(object_id))
        place = _place(content)
        if place is None:
            return content
        name, size = place
        with suppress(FileNotFoundError):
            found = (self._folder / name).read_bytes()
            return found if len(found) == size else None
        return None

    def delete(self, object_id: str) -> None:
        """As Flower's, which calls this for every descendant too."""
        with self._mutation_session() as session:
            place = _place(self._row(session, object_id))
            super().delete(object_id)
            if place is not None and object_id not in self:
                _when_over(session, "after_commit", self._folder / place[0])

    def _row(self, session: Session, object_id: str) -> bytes | None:
        """The beginning of a row's content."""
        query = select(func.substr(StoredObject.content, 1, _ROW)).where(StoredObject.object_id == object_id)
        return session.scalar(query)


def _place(row: bytes | None) -> tuple[str, int] | None:
    """The name and size of the file that a row names, if it names one."""
    if not row or not row.startswith(MARK):
        return None
    name, _, size = row[len(MARK) :].decode().partition(" ")
    return name, int(size)


def _when_over(session: Session, how: str, path: Path) -> None:
    """Remove a file when the session's transaction is over in this way."""

    def remove(session: Session) -> None:
        path.unlink(missing_ok=True)

    event.listen(session, how, remove, once=True)
