"""What was computed once is not computed again: an evaluation of the same bytes with the same tools has the same log.

Model versions and suites are names; two of them may hold the same files, such as a round that changed nothing, or a suite
that is submitted again under a new version.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session, col, select

from hub.evaluation.tables import EvaluationRow
from protos.documents.base import FileEntry
from trust.canonical import emit
from trust.digests import Digest, digest_bytes


def work(model: Iterable[FileEntry], suite: Iterable[FileEntry], harness: str) -> Digest:
    """What is computed: the digest of the files of both by name, and of `harness`, which names code and settings."""
    return digest_bytes(emit({"model": _named(model), "suite": _named(suite), "harness": harness}))


def done(session: Session, work: Digest, node: str = "") -> EvaluationRow | None:
    """The first evaluation of this work that came to scores, by the hub, or by `node`, which would else compute it again.

    What a node says that it computes with is its word, so no other's counts. A failure is none: it may be the machine's.
    """
    query = select(EvaluationRow).where(EvaluationRow.work == work, col(EvaluationRow.node).in_(("", node)))
    return session.exec(query.order_by(col(EvaluationRow.index))).first()


def _named(files: Iterable[FileEntry]) -> dict[str, str]:
    return {file.path: file.digest for file in files}
