"""What the scheduler reads and writes of runs: database, ledger, progress. Everything here blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger import grants
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.weights import parameter_count
from hub.progress.log import Progress
from hub.submissions import catalogue
from hub.training import inputs, store, use
from hub.training.allocation import Order
from hub.training.feed import Feed
from hub.training.messages import plain
from hub.training.placement.shares import Usage
from hub.training.registration import checkpoint_claim, model_claim, run_end_claim
from hub.training.states import Prepared, Work
from hub.training.tables import RunRow
from protos.documents.base import FileEntry, moment
from protos.documents.runs import RunSpec
from protos.documents.submissions import DatasetFile
from trust.digests import Digest
from trust.errors import Invalid

BYTES_PER_TOKEN = 2  # at least
_log = logging.getLogger(__name__)


class Records:
    """Facts go through the journal, and never from within a transaction of ours."""

    def __init__(self, *, database: Database, blobs: BlobStore, journal: Journal, progress: Progress) -> None:
        self._database, self._blobs, self._journal, self._progress = database, blobs, journal, progress

    def unfinished(self, known: Iterable[str] = ()) -> list[Work]:
        """The work on every run that has not ended, oldest first, without those that are known already."""
        with self._database.session() as session:
            return [store.load_work(session, row.id) for row in store.unfinished(session) if row.id not in known]

    def run(self, run: str) -> RunRow:
        with self._database.session() as session:
            return store.get(session, run)

    def order(self, run: str) -> Order:
        """What a run asks for; that never changes."""
        row = self.run(run)
        spec = RunSpec.read(row.spec)
        terms = tuple(dataset.terms for dataset in self.inputs(row))
        launched = moment(row.launched_at).timestamp()
        return Order(spec, use.project(row), launched, terms)

    def inputs(self, row: RunRow) -> list[catalogue.Accepted[DatasetFile]]:
        """The datasets to train on: the same in every attempt, whatever is submitted meanwhile. Raises `NotFound`."""
        with self._database.session() as session:
            return inputs.inputs(session, RunSpec.read(row.spec), row.index)

    def withdrawn(self, row: RunRow) -> str:
        """Why the run must end: a dataset that it trains on was withdrawn or quarantined since; empty otherwise."""
        for dataset in self.inputs(row):
            if not dataset.stands:
                how = "withdrawn by its owner" if dataset.withdrawn_at else "signed with a stolen key"
                return f"{dataset.id} was {how}; launch the run again without it"
        return ""

    def model_of(self, run: str) -> str:
        """The model that a run made; empty when there is none yet."""
        with self._database.session() as session:
            return next((model.id for model in registry.from_source(session, run)), "")

    def keep(self, work: Work) -> None:
        """So that a restarted hub finds the attempt's nodes again."""
        with self._database.session(writing=True) as session:
            store.save_work(session, work)
            use.hold(session, work.run, work.world if work.nodes else 0, time.time())

    def usage(self) -> Usage:
        """What projects have used up to now."""
        with self._database.session() as session:
            return use.usage(session, time.time())

    def check_blobs(self, files: Iterable[FileEntry]) -> None:
        """Raises `Invalid` unless every file is here in its size, to stay: nothing is recorded that nobody can read.

        What a node names is read by all nodes then: of what is in the ledger it may name only what nodes may read already.
        """
        for file in files:
            digest = Digest(file.digest)
            with self._database.session() as session:
                others = grants.is_known(session, digest) and not grants.may_read(session, digest, node=True)
            if others or not self._blobs.keep(digest) or self._blobs.size(digest) != file.size:
                raise Invalid(f"{file.path} ({file.digest}) was not uploaded.", field=file.path)

    def check_prepared(self, run: str, prepared: Prepared) -> None:
        """Raises `Invalid` unless the files are here, and the tokens those of the run's datasets and enough to train on."""
        self.check_blobs([*prepared.tokenizer, *prepared.tokens])
        total, size = sum(prepared.tokens_by_dataset.values()), sum(file.size for file in prepared.tokens)
        if total != prepared.token_count or BYTES_PER_TOKEN * total > size:
            raise Invalid(f"{size} bytes cannot hold {total} tokens.", field="tokens_by_dataset")
        row = self.run(run)
        domains = {dataset.id: dataset.domain for dataset in self.inputs(row)}
        if unknown := prepared.tokens_by_dataset.keys() - domains.keys():
            raise Invalid(f"{min(unknown)[:80]} is no dataset of this run.", field="tokens_by_dataset")
        Feed(RunSpec.read(row.spec), prepared.tokens_by_dataset, domains)

    def earlier(self, work: Work, held: Collection[int]) -> int:
        """The newest checkpoint before the present one that was registered on the same nodes and is `held`; 0 for none."""
        with self._database.session() as session:
            found = store.checkpoints(session, work.run)
        usable = (each.step for each in found if tuple(each.nodes) == work.registered_on and each.step in held)
        return max((step for step in usable if step < work.registered), default=0)

    def register_checkpoint(self, work: Work, step: int) -> float:
        """Of a step that every rank has reported; answers with the loss. Raises `Invalid`."""
        claim = checkpoint_claim(self._journal.origin, work, step)
        self.check_blobs([claim.weights])
        self._journal.sign_and_record(claim.model_copy(update={"rank_seconds": self._untold(work.run)}))
        return claim.loss

    def register_model(self, work: Work, row: RunRow) -> str:
        """The model of a finished run; answers with its identifier. Raises `Invalid`."""
        self.check_blobs(work.model)
        weights = [self._blobs.sound(Digest(f.digest)) for f in work.model if f.path.endswith(".safetensors")]
        parameters = parameter_count(weights)
        used = self.inputs(row)
        with self._database.session() as session:
            model = registry.next_base_id(session, row.name)
        self._journal.sign_and_record(model_claim(self._journal.origin, model, parameters, work, row, used))
        return model

    def end(self, run: str, outcome: str, reason: str, model: str) -> None:
        claim = run_end_claim(self._journal.origin, run, outcome, reason, model)
        self._journal.sign_and_record(claim.model_copy(update={"rank_seconds": self._untold(run)}))
        message = f"model {model} is registered" if model else reason
        self._progress.append(run, outcome, message, (), True)

    def _untold(self, run: str) -> float:
        with self._database.session() as session:
            return max(0.0, round(use.untold(session, run, time.time()), 3))

    def tell(self, run: str, phase: str, message: str, metrics: list[tuple[int, str, float]] | None = None) -> None:
        """For those who watch."""
        message = plain(message)
        if message:
            _log.info("%s: %s", run, message)
        self._progress.append(run, phase, message, metrics or ())

    def last_message(self, run: str) -> str:
        return self._progress.last_message(run)
