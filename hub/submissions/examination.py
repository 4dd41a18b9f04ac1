"""Screening seen from the hub: what a submission is compared with, and the index of what was accepted."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.settings import ScreeningPolicy
from hub.submissions import catalogue
from hub.submissions.catalogue import Accepted
from hub.submissions.screening.duplicates import load
from hub.submissions.screening.findings import Finding, rejected
from hub.submissions.screening.index import Index
from hub.submissions.screening.jobs import DatasetJob, ShardFile, SuiteGrams, SuiteJob
from hub.submissions.screening.screener import Screener
from hub.submissions.screening.suites import screen_suite, suite_grams
from protos.documents.base import FileEntry
from protos.documents.submissions import Dataset, DatasetFile, Suite
from protos.documents.suite_files import MAX_SUITE
from trust.digests import Digest
from trust.errors import Invalid


@dataclass(frozen=True)
class Surroundings:
    """What datasets are compared with: those that are accepted and whose text is here, and the suites that stand."""

    datasets: Sequence[Accepted[DatasetFile]]
    suites: Sequence[Accepted[FileEntry]]


class Examination:
    """Blocking; jobs are answered in the screener's threads."""

    def __init__(
        self, database: Database, blobs: BlobStore, screener: Screener, policy: ScreeningPolicy | None = None
    ) -> None:
        self._database, self._blobs, self._screener = database, blobs, screener
        self._policy = policy or ScreeningPolicy()
        self._index_lock = threading.Lock()

    @property
    def policy(self) -> ScreeningPolicy:
        return self._policy

    def surroundings(self) -> Surroundings:
        """As of now. Reading them takes as long as there are many: who begins many screenings reads them once."""
        with self._database.session() as session:
            suites = [suite for suite in catalogue.suites(session) if not suite.withdrawn_at]
            return Surroundings(catalogue.held(session), suites)

    def begin(
        self, identifier: str, claim: Dataset | Suite, among: Surroundings | None = None
    ) -> Future[list[Finding]]:
        """Screen a submission whose files are all here; the same one twice is screened once."""
        if isinstance(claim, Dataset) and claim.at_home:
            unread: Future[list[Finding]] = Future()
            message = "Its text stays with its owner: nobody here has read it."
            unread.set_result([Finding(rule="schema", severity="info", message=message)])
            return unread
        if isinstance(claim, Dataset):
            job = self._dataset_job(identifier, claim, among or self.surroundings())
            return self._screener.submit(job, claim.signer)
        return self._screen_suite(identifier, claim)

    def rows(self, identifier: str) -> int:
        """Rows screened so far."""
        return self._screener.rows(identifier)

    def remember(self, identifier: str) -> None:
        """Add an accepted dataset's fingerprints to the index that later ones are compared with."""
        folder = self._folder(identifier)
        if (folder / "fingerprints").exists():
            with self._index_lock:
                Index(self._index).add(identifier, load(folder / "fingerprints"))
        self.forget(identifier)

    def forget(self, identifier: str) -> None:
        """Drop what the course of a screening left."""
        shutil.rmtree(self._folder(identifier), ignore_errors=True)

    def purge(self, submissions: Sequence[str]) -> None:
        """Drop the fingerprints of what was purged: they would still tell whether a text was in it."""
        with self._index_lock:
            Index(self._index).drop(submissions)
        for identifier in submissions:
            self._grams_path(identifier).unlink(missing_ok=True)
            self.forget(identifier)

    def unknown(self) -> list[Accepted[DatasetFile]]:
        """Accepted datasets that the index lacks, as after it was lost."""
        index = Index(self._index)
        with self._database.session() as session:
            return [dataset for dataset in catalogue.held(session) if not index.has(dataset.id)]

    def _dataset_job(self, identifier: str, claim: Dataset, among: Surroundings) -> DatasetJob:
        return DatasetJob(
            id=identifier,
            licence=claim.licence,
            rows=claim.rows,
            files=self._shards(claim.files),
            suites=tuple(
                SuiteGrams(
                    suite=f"{s.member}/{s.name} {s.version}",
                    path=self._grams(s),
                    readable=s.visibility == "members" or s.member == claim.signer,
                )
                for s in among.suites
            ),
            own=tuple(d.id for d in among.datasets if d.member == claim.signer and d.id != identifier),
            others=tuple(d.id for d in among.datasets if d.member != claim.signer),
            index=str(self._index),
            folder=str(self._folder(identifier)),
            policy=self._policy,
        )

    def _screen_suite(self, identifier: str, claim: Suite) -> Future[list[Finding]]:
        done: Future[list[Finding]] = Future()
        try:
            files = self.suite_files(claim.files)
        except Invalid as problem:
            done.set_result([Finding(rule="schema", severity="reject", message=problem.diagnostics())])
            return done
        findings = screen_suite(claim.licence, files)
        if rejected(findings):
            done.set_result(findings)
            return done
        grams = self._write_grams(identifier, files)
        with self._database.session() as session:
            datasets = catalogue.held(session)
        job = SuiteJob(id=identifier, grams=grams, datasets=tuple((d.id, self._shards(d.files)) for d in datasets))
        looked = self._screener.submit(job, claim.signer)
        looked.add_done_callback(lambda future: _pass_on(future, findings, done))
        return done

    def _grams(self, suite: Accepted[FileEntry]) -> str:
        """The file with the hashes of an accepted suite's runs; made when it is not there."""
        path = self._grams_path(suite.id)
        return str(path) if path.exists() else self._write_grams(suite.id, self.suite_files(suite.files))

    def _write_grams(self, identifier: str, files: dict[str, bytes]) -> str:
        path = self._grams_path(identifier)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{threading.get_ident()}.tmp")
        suite_grams(files).save(temporary)
        temporary.rename(path)
        return str(path)

    def _grams_path(self, suite: str) -> Path:
        return self._screener.folder / "suites" / f"{suite}.npz"

    def _shards(self, files: Sequence[DatasetFile]) -> tuple[ShardFile, ...]:
        return tuple(
            ShardFile(name=file.path, path=str(self._blobs.path(Digest(file.digest))), rows=file.rows) for file in files
        )

    def suite_files(self, files: Sequence[FileEntry]) -> dict[str, bytes]:
        """A suite's files, verified. Raises `Invalid` when they are too large to be one."""
        if sum(file.size for file in files) > MAX_SUITE:
            raise Invalid(f"The suite has more than {MAX_SUITE} bytes.", "Make it smaller.")
        return {file.path: self._blobs.read(Digest(file.digest), MAX_SUITE) for file in files}

    @property
    def _index(self) -> Path:
        return self._screener.folder / "index"

    def _folder(self, identifier: str) -> Path:
        return self._screener.folder / "jobs" / identifier


def _pass_on(looked: Future[list[Finding]], before: list[Finding], done: Future[list[Finding]]) -> None:
    if error := looked.exception():
        done.set_exception(error)
    else:
        done.set_result([*before, *looked.result()])
