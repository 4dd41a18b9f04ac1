"""The model versions that stand, and the names of those to come: `tiny-1` for a run's, `tiny-1.2` after a round."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from hub.models.tables import ModelRow as ModelRow  # what `get` and the others answer with
from hub.models.tables import ReleaseRow
from protos.documents import interests
from protos.documents.base import FileEntry
from protos.documents.models import Contribution, DataUsed
from trust.errors import NotFound


def get(session: Session, model: str) -> ModelRow:
    """Raises `NotFound`."""
    row = session.get(ModelRow, model)
    if row is None:
        raise NotFound(f"There is no model {model[:80]!r}.", "See `coalition model list`.")
    return row


def all_models(session: Session) -> Sequence[ModelRow]:
    """Every model version, oldest first."""
    return session.exec(select(ModelRow).order_by(col(ModelRow.index))).all()


def from_source(session: Session, source: str) -> Sequence[ModelRow]:
    """The models that a run or campaign made, oldest first."""
    return session.exec(select(ModelRow).where(ModelRow.source == source).order_by(col(ModelRow.index))).all()


def lineage(session: Session, model: str) -> list[ModelRow]:
    """From the model down to its base. Raises `NotFound`."""
    rows = [get(session, model)]
    while rows[-1].parent:
        rows.append(get(session, rows[-1].parent))
    return rows


def reached(session: Session) -> dict[str, frozenset[str]]:
    """Per model version: every dataset that reached it, by itself or through the versions it descends from."""
    found: dict[str, frozenset[str]] = {}
    for row in all_models(session):
        own = frozenset(used.dataset for used in data_used(row))
        found[row.id] = own | found.get(row.parent, frozenset())
    return found


def files(row: ModelRow) -> list[FileEntry]:
    return [FileEntry.read(file) for file in row.files]


def data_used(row: ModelRow) -> list[DataUsed]:
    return [DataUsed.read(value) for value in row.data]


def data_of(rows: Sequence[ModelRow]) -> list[DataUsed]:
    """What all of these versions were trained on, each dataset once with all its tokens."""
    found: dict[str, DataUsed] = {}
    for used in (used for row in rows for used in data_used(row)):
        before = found.get(used.dataset)
        found[used.dataset] = used.model_copy(update={"tokens": used.tokens + (before.tokens if before else 0)})
    return list(found.values())


def contributions(row: ModelRow) -> list[Contribution]:
    return [Contribution.read(value) for value in row.contributions]


def made(row: ModelRow) -> interests.Made:
    return interests.Made(row.id, row.parent, data_used(row), contributions(row))


def next_base_id(session: Session, run_name: str) -> str:
    """The next free `NAME-N`."""
    return f"{run_name}-{_next(session, f'{run_name}-')}"


def next_round_id(session: Session, model: str) -> str:
    """The next free `BASE.K` of the base that `model` descends from."""
    base = model.split(".")[0]
    return f"{base}.{_next(session, f'{base}.')}"


def _next(session: Session, prefix: str) -> int:
    names = session.exec(select(ModelRow.id).where(col(ModelRow.id).startswith(prefix, autoescape=True)))
    numbers = [int(rest) for name in names if (rest := name.removeprefix(prefix)).isdigit()]
    return max(numbers, default=0) + 1


def tally(session: Session) -> dict[str, dict[str, int]]:
    """Per member: rounds that its update counted in."""
    counts: dict[str, dict[str, int]] = {}
    for row in session.exec(select(ModelRow).where(ModelRow.origin == "round")):
        for part in contributions(row):
            if not part.excluded:
                numbers = counts.setdefault(part.member, {"rounds": 0})
                numbers["rounds"] += 1
    return counts


def all_releases(session: Session) -> Sequence[ReleaseRow]:
    """Every release, oldest first."""
    return session.exec(select(ReleaseRow).order_by(col(ReleaseRow.index))).all()


def get_release(session: Session, version: str) -> ReleaseRow:
    """Raises `NotFound`."""
    row = session.get(ReleaseRow, version)
    if row is None:
        raise NotFound(f"There is no release {version[:80]!r}.", "See `coalition release list`.")
    return row
