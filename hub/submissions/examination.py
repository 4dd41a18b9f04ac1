"""Screening seen from the hub: what a submission is compared with, and the index of what was accepted."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.settings import ScreeningPolicy
from hub.submissions import catalogue
from hub.submissions.catalogue import Accepted
from hub.submissions.screening.contamination import FORMAT
from hub.submissions.screening.datasets import KEYS, Advance
from hub.submissions.screening.findings import Finding, rejected
from hub.submissions.screening.index import Index
from hub.submissions.screening.jobs import (
    DatasetJob,
    HeldDataset,
    ShardFile,
    SuiteFile,
    SuiteGrams,
    SuiteJob,
    SuiteReading,
)
from hub.submissions.screening.process import read_apart
from hub.submissions.screening.screener import Run, Screener
from protos.documents.base import FileEntry
from protos.documents.submissions import Dataset, DatasetFile, Reward, Submission, Suite
from trust.digests import Digest, digest_bytes, hex_of
from trust.errors import Unavailable
from trust.sentences import counted


@dataclass(frozen=True)
class Surroundings:
    """What datasets are compared with: those that are accepted and whose text is here, and the suites that stand."""

    datasets: Sequence[Accepted[DatasetFile]]
    suites: Sequence[Accepted[FileEntry]]


class Examination:
    """Blocking; jobs are made and answered in the screener's threads. What a member wrote is parsed in other processes alone."""

    def __init__(
        self, database: Database, blobs: BlobStore, screener: Screener, policy: ScreeningPolicy | None = None
    ) -> None:
        self._database, self._blobs, self._screener = database, blobs, screener
        self._policy = policy or ScreeningPolicy()
        self._index_lock = threading.Lock()
        self._compared: dict[str, set[str]] = {}  # of a submission: with which datasets or suites

    @property
    def policy(self) -> ScreeningPolicy:
        return self._policy

    def surroundings(self) -> Surroundings:
        """As of now. Reading them takes as long as there are many: who begins many screenings reads them once."""
        with self._database.session() as session:
            suites = [suite for suite in catalogue.suites(session) if suite.stands]
            return Surroundings(catalogue.held(session), suites)

    def begin(self, identifier: str, claim: Submission, among: Surroundings | None = None) -> Future[list[Finding]]:
        """Screen a submission whose files are all here; the same one twice is screened once."""
        if isinstance(claim, Reward):
            return _known(f"A policy of {counted(len(claim.policy.rules), 'rule')}.")
        if isinstance(claim, Dataset) and claim.at_home:
            return _known("Its text stays with its owner: nobody here has read it.")
        if isinstance(claim, Dataset):
            return self._screener.submit(
                identifier, claim.signer, partial(self._screen_dataset, identifier, claim, among)
            )
        return self._screener.submit(identifier, claim.signer, partial(self._screen_suite, identifier, claim))

    def overlooked(self, identifier: str, claim: Submission) -> bool:
        """Whether suites (or datasets) were accepted since it was compared with all that there were."""
        compared = self._compared.get(identifier)
        if compared is None:
            return False
        with self._database.session() as session:
            return not catalogue.standing(session, "suite" if isinstance(claim, Dataset) else "dataset") <= compared

    def rows(self, identifier: str) -> int:
        """Rows screened so far."""
        return self._screener.rows(identifier)

    def remember(self, identifier: str) -> None:
        """Add an accepted dataset's fingerprints to the index that later ones are compared with."""
        keys = self._folder(identifier) / KEYS
        if keys.exists():
            with self._index_lock:
                Index(self._index).add(identifier, keys)
        self.forget(identifier)

    def forget(self, identifier: str) -> None:
        """Drop what the course of a screening left."""
        self._compared.pop(identifier, None)
        shutil.rmtree(self._folder(identifier), ignore_errors=True)

    def purge(self, submissions: Sequence[str]) -> None:
        """Drop the fingerprints of what was purged: they would still tell whether a text was in it."""
        with self._index_lock:
            Index(self._index).drop(submissions)
        for identifier in submissions:
            for path in self._hashes.glob(f"{identifier}.*"):
                path.unlink(missing_ok=True)
            self.forget(identifier)

    def unknown(self) -> list[Accepted[DatasetFile]]:
        """Accepted datasets that the index lacks, as after it was lost."""
        index = Index(self._index)
        with self._database.session() as session:
            return [dataset for dataset in catalogue.held(session) if not index.has(dataset.id)]

    def _screen_dataset(
        self, identifier: str, claim: Dataset, among: Surroundings | None, run: Run, advance: Advance
    ) -> list[Finding]:
        among = among or self.surroundings()
        self._compared[identifier] = {suite.id for suite in among.suites}
        job = DatasetJob(
            id=identifier,
            licence=claim.licence,
            rows=claim.rows,
            files=self._shards(claim.files),
            suites=tuple(
                self._grams(s, readable=s.visibility == "members" or s.member == claim.signer) for s in among.suites
            ),
            own=tuple(d.id for d in among.datasets if d.member == claim.signer and d.id != identifier),
            others=tuple(d.id for d in among.datasets if d.member != claim.signer),
            index=str(self._index),
            folder=str(self._folder(identifier)),
            policy=self._policy,
        )
        return run(job, advance)

    def _screen_suite(self, identifier: str, claim: Suite, run: Run, advance: Advance) -> list[Finding]:
        name = f"{claim.signer}/{claim.name} {claim.version}"
        grams = self._place(identifier, name, sealed=claim.visibility == "sealed")
        findings = self._read(grams, claim.licence, claim.files)
        if rejected(findings):
            return findings
        with self._database.session() as session:
            datasets = catalogue.held(session)
        self._compared[identifier] = {dataset.id for dataset in datasets}
        job = SuiteJob(
            id=identifier,
            grams=grams,
            datasets=tuple(
                HeldDataset(
                    id=d.id,
                    files=self._shards(d.files),
                    readable=d.visibility == "members" or d.member == claim.signer,
                )
                for d in datasets
            ),
            folder=str(self._folder(identifier)),
        )
        return [*findings, *run(job, advance)]

    def _read(self, grams: SuiteGrams, licence: str, files: Sequence[FileEntry]) -> list[Finding]:
        """What a suite's own files tell; the hashes of its runs are on the disk then.

        Raises `NotFound`, `Corrupt`, `Unavailable`.
        """
        self._hashes.mkdir(parents=True, exist_ok=True)
        job = SuiteReading(
            id=grams.id,
            licence=licence,
            files=tuple(SuiteFile(name=file.path, size=file.size) for file in files),
            grams=grams,
        )
        chunks = (chunk for file in files for chunk in self._blobs.chunks(Digest(file.digest)))
        return read_apart(self._screener.folder, job, chunks)

    def _grams(self, suite: Accepted[FileEntry], *, readable: bool) -> SuiteGrams:
        """The file with the hashes of an accepted suite's runs; made when it is not there."""
        name = f"{suite.member}/{suite.name} {suite.version}"
        grams = self._place(suite.id, name, sealed=suite.visibility == "sealed")
        if not Path(grams.path).exists() and (wrong := rejected(self._read(grams, suite.licence, suite.files))):
            raise Unavailable(f"Nothing is screened while the suite {suite.id} cannot be read: {wrong[0].message}")
        return grams.model_copy(update={"readable": readable})

    def _place(self, identifier: str, name: str, *, sealed: bool) -> SuiteGrams:
        """Where the hashes of a suite lie; a sealed suite's are encrypted, and made anew where the seal key is another.

        Raises `Unavailable` without the seal key.
        """
        if not sealed:
            return SuiteGrams(id=identifier, suite=name, path=str(self._hashes / f"{identifier}.{FORMAT}.npz"))
        for plain in self._hashes.glob(f"{identifier}.*npz"):  # as an earlier version left it
            plain.unlink(missing_ok=True)
        key = self._blobs.vault.key_for(f"hashes of {identifier}")
        path = self._hashes / f"{identifier}.{FORMAT}.{hex_of(digest_bytes(key))[:12]}.sealed"
        return SuiteGrams(id=identifier, suite=name, path=str(path), key=key.hex())

    @property
    def _hashes(self) -> Path:
        return self._screener.folder / "suites"

    def _shards(self, files: Sequence[DatasetFile]) -> tuple[ShardFile, ...]:
        return tuple(
            ShardFile(name=file.path, path=str(self._blobs.path(Digest(file.digest))), rows=file.rows) for file in files
        )

    @property
    def _index(self) -> Path:
        return self._screener.folder / "index"

    def _folder(self, identifier: str) -> Path:
        return self._screener.folder / "jobs" / identifier


def _known(message: str) -> Future[list[Finding]]:
    """The finding about a submission of which no file is here to be read."""
    found: Future[list[Finding]] = Future()
    found.set_result([Finding(rule="schema", severity="info", message=message)])
    return found
