"""What is interrupted: one submission, append, release, rebuild and purge; as the hub does them, on a prepared hub.

Everything that a member signs is signed while preparing, so that a retry sends the same bytes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub import setup
from hub.foundation import Foundation
from hub.ledger import rows
from hub.ledger.entries import Entry
from hub.models.releases import Releases
from hub.rebuild import rebuild
from hub.server import register_projections, removers_of
from hub.settings import Settings
from hub.submissions.examination import Examination
from hub.submissions.intake import Draft, Intake
from hub.submissions.screening.screener import Screener
from hub.submissions.screening.worker import screen
from protos.documents.base import Claim, FileEntry
from protos.documents.members import Member
from protos.documents.models import DataUsed, Model, Release
from protos.documents.statements import HUB, sign
from protos.documents.submissions import Dataset, DatasetFile, Withdrawal
from trust.bundles import sign_files
from trust.digests import Digest, digest_bytes
from trust.keys import ArtifactKey

ORIGIN = "fault-hub"
MEMBER = "law-institute"
CORE = "core-team"
CHUNK = 4096
Ack = tuple[str, int]
"""The payload's digest and its place in the ledger, as a caller was told."""


def shard(number: int, rows: int = 60) -> bytes:
    """A file of a dataset that screening accepts."""
    texts = (f"Clause {row} of contract {number} binds both parties until it is terminated." for row in range(rows))
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@dataclass
class Hub:
    """A hub's stores, opened, with its journal running."""

    base: Foundation
    prepared: Path

    def close(self) -> None:
        self.base.journal.stop()
        self.base.database.close()


def open_hub(directory: Path) -> Hub:
    """As `coalition-hub serve` opens it: what a crash left is swept, and the ledger is replayed."""
    base = Foundation.open(Settings.load(directory / "hub"))
    register_projections(base.journal)
    base.journal.start()
    return Hub(base, directory / "prepared")


def submission(hub: Hub) -> Iterator[Ack]:
    """A dataset of two files, from the manifest to the receipt; what came already is not sent again."""
    with tempfile.TemporaryDirectory() as folder:  # screening keeps nothing that must survive
        examination = Examination(hub.base.database, hub.base.blobs, Screener(Path(folder), run=screen))
        yield from _submission(hub, Intake(hub.base.database, hub.base.blobs, hub.base.journal, examination))


def _submission(hub: Hub, intake: Intake) -> Iterator[Ack]:
    opened = intake.open((hub.prepared / "dataset").read_bytes(), MEMBER)
    if isinstance(opened, Draft):
        bodies = {digest_bytes(shard(number)): shard(number) for number in (1, 2)}
        for digest, offset in intake.missing(opened):
            _upload(intake, opened, digest, bodies[digest], offset)
        opened = intake.commit(opened)
    yield _ack(opened)


def _upload(intake: Intake, draft: Draft, digest: Digest, body: bytes, offset: int) -> None:
    with intake.receive(draft, digest, offset) as incoming:
        for start in range(offset, len(body), CHUNK):
            incoming.write(body[start : start + CHUNK])
        incoming.finish()


def append(hub: Hub) -> Iterator[Ack]:
    """Statements one after the other, so that the ledger's first tile fills and a second one begins."""
    for path in sorted(hub.prepared.glob("append-*")):
        yield _ack(hub.base.journal.record(path.read_bytes(), MEMBER))


def release(hub: Hub) -> Iterator[Ack]:
    """The proposal is made, its card and provenance stored; the signed release is checked and recorded."""
    releases = _releases(hub.base)
    releases.prepare("tiny-1", "1.0")
    yield _ack(releases.publish((hub.prepared / "release").read_bytes(), (hub.prepared / "bundle").read_bytes(), CORE))


def rebuilding(hub: Hub) -> Iterator[Ack]:
    """The database is made anew; every entry is where it was."""
    hub.close()
    entries = rebuild(hub.base.settings)
    with hub.base.database.session() as session:
        yield from [(row.payload, row.index) for row in rows.between(session, 0, entries)]


def purging(hub: Hub) -> Iterator[Ack]:
    """A withdrawn dataset's blobs are purged: the statement, then the deletion; one of them another dataset needs."""
    with tempfile.TemporaryDirectory() as folder:
        examination = Examination(hub.base.database, hub.base.blobs, Screener(Path(folder), run=screen))
        purger, _, _ = removers_of(hub.base, examination)
        purger.look()
    if [hub.base.blobs.has(digest_bytes(shard(number))) for number in (1, 2)] != [False, True]:
        raise RuntimeError("what was purged is here, or what is needed is not")
    with hub.base.database.session() as session:
        yield from [(row.payload, row.index) for row in rows.between(session, 0) if row.kind == "purge"]


SCENARIOS: dict[str, Callable[[Hub], Iterator[Ack]]] = {
    "submission": submission,
    "append": append,
    "release": release,
    "rebuild": rebuilding,
    "purge": purging,
}


COMMANDS = frozenset({"rebuild"})
"""What a command of its own does: its process ends with its first refusal."""


def prepare(directory: Path, scenario: str) -> None:
    """Make the hub that the scenario acts on, and what its members sign."""
    setup.create(directory / "hub", ORIGIN, host="127.0.0.1", bind="127.0.0.1", port=9090)
    (directory / "prepared").mkdir()
    hub = open_hub(directory)
    keys = {MEMBER: ArtifactKey.generate(), CORE: ArtifactKey.generate()}
    for member, key in keys.items():
        _enrol(hub.base, member, "core" if member == CORE else "contributor", key)
    _PREPARATIONS[scenario](hub, keys)
    hub.close()


def _prepare_submission(hub: Hub, keys: dict[str, ArtifactKey]) -> None:
    _sign(hub, "dataset", _dataset("contracts", (1, 2)), keys[MEMBER])


def _prepare_rebuild(hub: Hub, keys: dict[str, ArtifactKey]) -> None:
    for number in range(3):
        hub.base.journal.record(sign(_dataset(f"filling-{number}", (number,)), keys[MEMBER]), MEMBER)


def _prepare_purge(hub: Hub, keys: dict[str, ArtifactKey]) -> None:
    """Blobs of an hour ago, one of them in two datasets, of which the first is withdrawn without a grace."""
    toml = hub.base.settings.directory / "hub.toml"
    toml.write_text(toml.read_text().replace("purge_grace_days = 7.0", "purge_grace_days = 0.0"))
    for number in (1, 2):
        path = hub.base.blobs.path(hub.base.blobs.put(shard(number)))
        os.utime(path, (0, 0))
    first, _ = [
        hub.base.journal.record(sign(_dataset(name, numbers), keys[MEMBER]), MEMBER)
        for name, numbers in (("contracts", (1, 2)), ("letters", (2,)))
    ]
    hub.base.journal.record(sign(Withdrawal(hub=ORIGIN, signer=MEMBER, submission=first.id), keys[MEMBER]), MEMBER)


def _prepare_append(hub: Hub, keys: dict[str, ArtifactKey]) -> None:
    """The ledger holds 254 entries: the third of three more opens a new tile."""
    key = keys[MEMBER]
    for number in range(hub.base.journal.size, 254):
        hub.base.journal.record(sign(_dataset(f"filling-{number}", (number,)), key), MEMBER)
    for number in range(3):
        _sign(hub, f"append-{number}", _dataset(f"appended-{number}", (1000 + number,)), key)


def _prepare_release(hub: Hub, keys: dict[str, ArtifactKey]) -> None:
    """A model and its data; the proposal is computed and what computing it stored is taken away again."""
    base = hub.base
    base.blobs.put(shard(1))
    dataset = base.journal.record(sign(_dataset("contracts", (1,)), keys[MEMBER]), MEMBER)
    used = DataUsed(dataset=dataset.id, payload=dataset.payload, member=MEMBER, licence="CC-BY-4.0", tokens=1000)
    bodies = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}
    files = tuple(FileEntry(path=p, digest=base.blobs.put(body), size=len(body)) for p, body in bodies.items())
    values = {"model": "tiny-1", "origin": "run", "source": "run-1", "payload": digest_bytes(b""), "round": 0}
    more = {"parameters": 1234, "architecture": "llama", "tokens": 5000, "code_version": "0.1.0"}
    base.journal.sign_and_record(
        Model(hub=ORIGIN, signer=HUB, **values, **more, files=files, data=(used,))  # type: ignore[arg-type]
    )
    proposed = _releases(base).prepare("tiny-1", "1.0")
    digests = {file.path: Digest(file.digest) for file in proposed}
    bundle = sign_files("tiny-1", digests, keys[CORE], ("model.sig", "keys"))
    (hub.prepared / "bundle").write_bytes(bundle)
    named = {"version": "1.0", "model": "tiny-1", "bundle": digest_bytes(bundle)}
    _sign(hub, "release", Release(hub=ORIGIN, signer=CORE, files=tuple(proposed), **named), keys[CORE])
    for path in ("README.md", "provenance.json"):
        base.blobs.path(digests[path]).unlink()


_PREPARATIONS = {
    "submission": _prepare_submission,
    "append": _prepare_append,
    "release": _prepare_release,
    "rebuild": _prepare_rebuild,
    "purge": _prepare_purge,
}


def _releases(base: Foundation) -> Releases:
    return Releases(database=base.database, blobs=base.blobs, journal=base.journal, scores_of=lambda session, model: [])


def _dataset(name: str, numbers: Sequence[int]) -> Dataset:
    files = tuple(
        DatasetFile(path=f"part-{n}.jsonl", digest=digest_bytes(shard(n)), size=len(shard(n)), rows=60) for n in numbers
    )
    described = {"name": name, "domain": "law", "licence": "CC-BY-4.0", "provenance": "written for a test"}
    return Dataset(hub=ORIGIN, signer=MEMBER, rows=60 * len(files), files=files, **described)  # type: ignore[arg-type]


def _sign(hub: Hub, name: str, claim: Claim, key: ArtifactKey) -> None:
    (hub.prepared / name).write_bytes(sign(claim, key))


def _enrol(base: Foundation, member: str, role: str, key: ArtifactKey) -> None:
    values = {"member": member, "organisation": member, "role": role, "artifact_key": key.public.pem().decode()}
    base.journal.sign_and_record(Member.read({"hub": ORIGIN, "signer": HUB, **values}))


def _ack(entry: Entry) -> Ack:
    return str(entry.payload), entry.index
