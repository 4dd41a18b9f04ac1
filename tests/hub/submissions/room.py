"""The submissions room of a hub with what deletes blobs, on one directory; and time that passes for blobs."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.disposal import Disposal
from hub.ledger import grants
from hub.ledger.entries import Entry
from hub.submissions import drafts
from hub.submissions.examination import Examination
from hub.submissions.intake import Draft, Intake
from hub.submissions.purges import Purger
from hub.submissions.screening.screener import Screener
from hub.submissions.screening.worker import screen
from hub.submissions.stale import Sweeper
from hub.witnesses.finality import Finality
from protos.documents.holdings import Holdings
from protos.documents.leaf import Leaf
from protos.documents.statements import sign
from protos.documents.submissions import Dataset, DatasetFile, Submission, Withdrawal
from tests.hub.conftest import ORIGIN, Base
from trust.digests import Digest, digest_bytes

US, OTHERS = "law-institute", "university"
DAYS = 7.0
LATER = dt.timedelta(days=2 * DAYS)


def shard(number: int) -> bytes:
    """Ten rows that screening accepts, and no other shard's."""
    subject = ("contract", "letter", "verdict")[number]
    texts = (
        f"The {subject} of the year {1900 + row} binds both of its parties until one ends it." for row in range(10)
    )
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


SHARDS = [shard(number) for number in range(3)]
DIGESTS = [digest_bytes(body) for body in SHARDS]


def dataset(signer: str, name: str, numbers: Sequence[int], **changes: object) -> Dataset:
    files = [
        DatasetFile(path=f"part-{n}.jsonl", digest=DIGESTS[n], size=len(SHARDS[n]), rows=10) for n in sorted(numbers)
    ]
    described = {"domain": "law", "licence": "CC-BY-4.0", "provenance": "own archive", "rows": 10 * len(files)}
    return Dataset.model_validate(
        {"hub": ORIGIN, "signer": signer, "name": name, **described, "files": tuple(files), **changes}
    )


@dataclass
class Room:
    base: Base
    intake: Intake
    examination: Examination
    disposal: Disposal
    screener: Screener

    @classmethod
    def of(cls, base: Base, folder: Path) -> Room:
        screener = Screener(folder, run=screen)
        examination = Examination(base.database, base.blobs, screener)
        disposal = Disposal(base.database, base.blobs, (grants.named, drafts.counts_on))
        return cls(base, Intake(base.database, base.blobs, base.journal, examination), examination, disposal, screener)

    def purger(self, grace: float | None = 0.0, disposal: Disposal | None = None) -> Purger:
        return Purger(
            database=self.base.database,
            journal=self.base.journal,
            finality=Finality(self.base.log),
            disposal=disposal or self.disposal,
            examination=self.examination,
            grace=grace,
        )

    def sweeper(self) -> Sweeper:
        return Sweeper(self.base.database, self.base.blobs, self.disposal, DAYS, self.examination.forget)

    def open(self, claim: Submission) -> Draft:
        draft = self.intake.open(sign(claim, self.base.keys[claim.signer]), claim.signer)
        assert isinstance(draft, Draft)
        return draft

    def send(self, draft: Draft) -> list[Digest]:
        """What the hub asks for; what it was."""
        missing = self.intake.missing(draft)
        for digest, offset in missing:
            with self.intake.receive(draft, digest, offset) as incoming:
                incoming.write(SHARDS[DIGESTS.index(digest)][offset:])
                assert incoming.finish()
        return [digest for digest, _ in missing]

    def submit(self, signer: str, name: str, numbers: Sequence[int], **changes: object) -> Entry:
        draft = self.open(dataset(signer, name, numbers, **changes))
        self.send(draft)
        return self.intake.commit(draft)

    def withdraw(self, signer: str, submission: str) -> Entry:
        return self.base.record(Withdrawal(hub=ORIGIN, signer=signer, submission=submission))

    def age(self) -> None:
        """Nobody relied on any blob for longer than a disposal waits."""
        for path in (self.base.directory / "blobs").glob("s*/*/*"):
            os.utime(path, (0, 0))

    def held(self) -> set[int]:
        return {number for number, digest in enumerate(DIGESTS) if self.base.blobs.has(digest)}

    def holdings(self) -> Holdings:
        """What an auditor makes of the ledger."""
        found = Holdings()
        reader = self.base.log.reader()
        for index, data in enumerate(reader.entries(0, reader.size)):
            leaf = Leaf.decode(data)
            entry = self.base.journal.find(Digest(leaf.payload))
            assert entry is not None
            found.admit(index, leaf, entry.claim)
        return found
