"""After a fault and a restart: what a stranger would check in the hub's directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hub.dump import dump
from hub.ledger.grants import may_read
from hub.ledger.journal import Journal
from hub.members.directory import prove
from hub.server import register_projections
from protos.documents.leaf import Leaf
from tests.faults.scenarios import CORE, SCENARIOS, Ack, Hub, open_hub
from tests.hub.conftest import migrated
from trust.audit import verify_log
from trust.digests import Digest, digest_file
from trust.keys import LogPublicKey
from trust.notes import verify_tree_head
from trust.receipts import verify_receipt

REPLAYED = 64  # entries up to which the whole ledger is replayed into a second database for comparison


class Broken(Exception):
    """A promise of the hub that did not hold."""


class _Files:
    def __init__(self, hub: Hub) -> None:
        self._log = hub.base.log

    def read_tile(self, path: str) -> bytes:
        return self._log.read(path)

    def read_tree_head(self) -> bytes:
        return self._log.note()


def inspect(directory: Path, scenario: str, acked: Sequence[Ack], old_note: bytes) -> None:
    """Open the hub again and raise `Broken` unless every promise holds, before and after a retry."""
    hub = open_hub(directory)
    _check(hub, acked, old_note)
    first = list(SCENARIOS[scenario](hub))
    if list(acked) != first[: len(acked)]:
        raise Broken(f"a retry was told {first}, and the first time {list(acked)}")
    if list(SCENARIOS[scenario](hub)) != first:
        raise Broken("a second retry was told something else than the first")
    _check(hub, first, old_note)
    if len(_leaves(hub, old_note)) > REPLAYED:
        hub.close()
        return
    _check_projection(hub, directory)
    hub.close()


def _check(hub: Hub, acked: Sequence[Ack], old_note: bytes) -> None:
    leaves = _leaves(hub, old_note)
    payloads = [leaf.payload for leaf in leaves]
    if len(set(payloads)) != len(payloads):
        raise Broken("a statement stands in the ledger twice")
    for payload, index in acked:
        if index >= len(payloads) or payloads[index] != payload:
            raise Broken(f"the acknowledged entry {index} is lost")
        receipt = hub.base.journal.receipt(index)
        verify_receipt(receipt.proof, receipt.leaf, _log_key(hub))
        if (found := hub.base.journal.find(Digest(payload))) is None or found.index != index:
            raise Broken(f"the database does not know the acknowledged entry {index}")
    if hub.base.journal.size != len(leaves):
        raise Broken("the journal and the log's files differ in size")
    _check_blobs(hub, leaves)


def _leaves(hub: Hub, old_note: bytes) -> list[Leaf]:
    """The audited ledger, which extends what was there before the fault."""
    known = verify_tree_head(old_note, _log_key(hub), hub.base.settings.name)
    return [Leaf.decode(entry) for entry in verify_log(_Files(hub), _log_key(hub), known).entries]


def _check_blobs(hub: Hub, leaves: Sequence[Leaf]) -> None:
    """What lies in the store is whole, whatever it is; what the ledger names is there; nothing temporary is left."""
    directory = hub.base.settings.blobs_dir
    for path in (directory / "sha256").rglob("*"):
        if path.is_file() and digest_file(path) != f"sha256:{path.name}":
            raise Broken(f"the blob {path.name} is not whole")
    for leaf in leaves:
        hub.base.blobs.read(Digest(leaf.envelope))
    if left := list((directory / "partial").glob("*.tmp")):
        raise Broken(f"{left[0].name} was not swept")
    if left := [path for path in hub.base.settings.ledger_dir.rglob("*.tmp") if path.is_file()]:
        raise Broken(f"{left[0].name} was not swept")
    _check_visible(hub, leaves)


def _check_visible(hub: Hub, leaves: Sequence[Leaf]) -> None:
    """Whoever may read a dataset's or release's file finds it: a half-accepted one would name what is not there."""
    with hub.base.database.session() as session:
        for leaf in leaves:
            entry = hub.base.journal.find(Digest(leaf.payload))
            if entry is None:
                raise Broken(f"the database lacks entry {leaf.id}")
            if entry.id.startswith("dataset") and "contracts" not in json.dumps(entry.claim.model_dump(mode="json")):
                continue  # the append scenario's statements name files that nobody sent
            for file in getattr(entry.claim, "files", ()):
                digest = Digest(file.digest)
                if may_read(session, digest, member=CORE) and not hub.base.blobs.check(digest):
                    raise Broken(f"{entry.id} is visible and its {file.path} is damaged")


def _check_projection(hub: Hub, directory: Path) -> None:
    """A database made anew from ledger and blobs says what the one that lived through the fault says."""
    database = migrated(f"sqlite:///{directory / 'replayed.sqlite'}")
    base = hub.base
    journal = Journal(database, base.blobs, base.log, base.statement_key, prove)
    register_projections(journal)
    journal.start()
    journal.stop()
    same = list(dump(database)) == list(dump(base.database))
    database.close()
    if not same:
        raise Broken("the database is not what the ledger says")


def _log_key(hub: Hub) -> LogPublicKey:
    return LogPublicKey.decode(hub.base.log.vkey)
