"""What an evaluation reads from the hub and leaves in it: a suite's files, an earlier result, a signed statement."""

from __future__ import annotations

import logging

from hub.blobs import BlobStore
from hub.database import Database
from hub.evaluation import reuse, store
from hub.evaluation.outputs import Evaluated
from hub.evaluation.reasons import told
from hub.evaluation.turns import Suite
from hub.evaluation.worker import MAX_OUTPUT
from hub.ledger.grants import is_known, may_read
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.registry import ModelRow
from protos.documents.evaluations import Evaluation
from protos.documents.statements import HUB
from protos.documents.suite_files import MAX_SUITE
from trust.digests import Digest
from trust.errors import Conflict, Corrupt, Invalid, NotFound

_log = logging.getLogger(__name__)


class Recorder:
    """Blocking."""

    def __init__(self, *, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal

    def read(self, suite: Suite) -> dict[str, bytes]:
        """A suite's files, verified. Raises `Invalid` for more than can be evaluated, `Corrupt`, `NotFound`."""
        if sum(file.size for file in suite.files) > MAX_SUITE:
            raise Invalid(f"The suite has more than {MAX_SUITE} bytes.")
        return {file.path: self._blobs.read(Digest(file.digest), MAX_SUITE) for file in suite.files}

    def read_output(self, digest: Digest) -> bytes:
        """What a node uploaded. Raises `NotFound`, also for what others keep from nodes: named as its own it would be published;
        `Invalid` for more than an evaluation may say, `Corrupt`."""
        with self._database.session() as session:
            if is_known(session, digest) and not may_read(session, digest, node=True):
                raise NotFound(f"{digest} was not uploaded.")
        return self._blobs.read(digest, MAX_OUTPUT)

    def done_before(self, model: ModelRow, suite: Suite, harness: str, node: str = "") -> Evaluated | None:
        """What came of the same files with the same tools, at the hub or at `node`, where its log is still here as it was."""
        with self._database.session() as session:
            row = reuse.done(session, reuse.work(registry.files(model), suite.files, harness), node)
        if row is None:
            return None
        try:
            log = self._blobs.read(Digest(row.samples), MAX_OUTPUT)
        except (Corrupt, NotFound):
            return None
        return Evaluated(tuple(store.scores(row)), log, "", same_as=row.id, node=row.node or None)

    def record(self, model: ModelRow, suite: Suite, evaluated: Evaluated, harness: str) -> None:
        """Of a pair that is recorded already, nothing."""
        keep = self._blobs.put_sealed if suite.visibility == "sealed" else self._blobs.put
        claim = Evaluation(
            hub=self._journal.origin,
            signer=HUB,
            model=model.id,
            model_payload=model.payload,
            suite=suite.id,
            suite_payload=suite.payload,
            harness=harness,
            scores=evaluated.scores,
            failure=told(evaluated.failure, suite.visibility),
            samples=keep(evaluated.log) if evaluated.scores else None,
            seconds=round(evaluated.seconds, 3),
            same_as=evaluated.same_as,
            node=evaluated.node,
        )
        try:
            self._journal.sign_and_record(claim)
        except Conflict:
            return  # the same pair was recorded before the hub was stopped
        _log.info("%s by %s: %s", model.id, suite.name, claim.failure or f"{len(claim.scores)} scores")
