"""What runs leave: packed tokens are their data in another form, and copies lie on nodes. Both go when they are of no use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from hub.disposal import Disposal
from hub.ledger import grants
from hub.training import leftovers, store
from hub.training import projection as training_projection
from hub.training.leftovers import Leftovers
from hub.training.shards import piece
from hub.training.states import Copy, Prepared, Work
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from protos.documents.architectures import Llama
from protos.documents.base import FileEntry
from protos.documents.runs import Run, RunEnd, RunSpec, Training
from protos.documents.statements import HUB
from protos.documents.submissions import Withdrawal
from tests.hub.conftest import ORIGIN, Base
from tests.hub.models.conftest import record_dataset
from trust.digests import Digest, digest_bytes, hex_of

TOKENS = b"the data in another form"


@pytest.fixture
def ledger(base: Base) -> Base:
    training_projection.register(base.journal)
    base.enrol("core", "core")
    base.enrol("law-institute")
    record_dataset(base, "law-institute", "letters")
    return base


@pytest.fixture
def run(ledger: Base) -> str:
    """A run that trains: its tokens are at the hub."""
    shape = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2, "kv_heads": 1}
    training = Training(steps=10, batch_size=2, sequence_length=32, learning_rate=1e-3)
    spec = RunSpec(name="tiny", architecture=Llama(**shape, context_length=64), training=training)
    run = ledger.record(Run(hub=ORIGIN, signer="core", spec=spec)).id
    prepared = Prepared(
        tokenizer=(stored(ledger, "tokenizer.json", b"{}"),),
        tokens=(stored(ledger, "tokens.safetensors", TOKENS),),
        token_count=7,
        tokens_by_dataset={},
    )
    with ledger.database.session(writing=True) as session:
        store.save_work(session, Work(run, "training", attempt=1, nodes=("node-1",), prepared=prepared))
    return run


def stored(base: Base, path: str, data: bytes) -> FileEntry:
    """An hour ago."""
    digest = base.blobs.put(data)
    os.utime(base.blobs.path(digest), (0, 0))
    return FileEntry(path=path, digest=digest, size=len(data))


def leaving(base: Base) -> Leftovers:
    return Leftovers(base.database, Disposal(base.database, base.blobs, (grants.named, leftovers.needs)), 7)


def end(base: Base, run: str) -> None:
    base.journal.sign_and_record(RunEnd(hub=ORIGIN, signer=HUB, run=run, outcome="cancelled"))


def test_tokens_stay_while_their_run_goes_on_and_go_when_it_has_ended(ledger: Base, run: str) -> None:
    assert (leaving(ledger).plan(), leaving(ledger).look()) == ([], [])
    end(ledger, run)
    assert digest_bytes(TOKENS) in leaving(ledger).plan()
    assert digest_bytes(TOKENS) in leaving(ledger).look()
    assert not ledger.blobs.has(digest_bytes(TOKENS))
    with ledger.database.session() as session:
        assert grants.loans(session) == {}


def test_copies_stay_while_their_run_may_go_on_from_them_and_go_when_newer_ones_take_their_place(
    ledger: Base, run: str
) -> None:
    """Nodes may read them, and nobody else."""
    older, newer = (stored(ledger, piece(0, 1), data) for data in (b"state of step 10", b"state of step 20"))

    def keep(file: FileEntry, step: int) -> None:
        with ledger.database.session(writing=True) as session:
            work = store.load_work(session, run)
            store.save_work(session, replace(work, copies=(Copy(step=step, pieces=(file,)),)))

    keep(older, 10)
    assert leaving(ledger).look() == []
    with ledger.database.session() as session:
        assert grants.may_read(session, Digest(older.digest), node=True)
        assert not grants.may_read(session, Digest(older.digest), member="law-institute")
    keep(newer, 20)
    assert leaving(ledger).look() == [older.digest]
    end(ledger, run)
    assert newer.digest in leaving(ledger).look()


def test_what_an_entry_names_stays_though_it_was_lent(ledger: Base, run: str) -> None:
    """A run's tokenizer is a file of its model."""
    with ledger.database.session(writing=True) as session:
        grants.grant(session, digest_bytes(b"{}"), grants.EVERYONE)
    end(ledger, run)
    leaving(ledger).look()
    assert ledger.blobs.has(digest_bytes(b"{}"))
    assert not ledger.blobs.has(digest_bytes(TOKENS))


def test_what_a_node_sent_and_nobody_recorded_goes_after_days(ledger: Base) -> None:
    """Until then a checkpoint may wait for its other ranks."""
    digest = ledger.blobs.put(b"weights")
    with ledger.database.session(writing=True) as session:
        grants.lend(session, digest, grants.NOBODY)
    path = ledger.blobs.path(digest)
    hours_ago = path.stat().st_mtime - 5 * 3600
    os.utime(path, (hours_ago, hours_ago))
    assert leaving(ledger).look() == []
    os.utime(path, (0, 0))
    assert leaving(ledger).look() == [digest]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        yield Workplace(tmp_path / "node", channel)


def cache(tmp_path: Path, *digests: Digest) -> list[Path]:
    folder = tmp_path / "node" / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / hex_of(digest) for digest in digests]
    for path in paths:
        path.write_bytes(b"a copy")
    return paths


def test_a_node_forgets_what_was_withdrawn_and_what_runs_left(
    ledger: Base, run: str, place: Workplace, tmp_path: Path
) -> None:
    """It says what it keeps, whole or in part; the hub answers with what of it may not be read any more."""
    kept, gone = (record_dataset(ledger, "law-institute", name) for name in ("kept", "gone"))
    shards = [digest_bytes(f'{{"text": "{name} of law-institute"}}\n'.encode()) for name in ("kept", "gone")]
    whole = cache(tmp_path, *shards, digest_bytes(TOKENS))
    part = whole[1].with_name(f".{whole[1].name}.0123.part")
    part.write_bytes(b"half a")
    place.attempt_folder(run, 1)
    place.attempt_folder("run-long-gone", 1)

    def tidy() -> None:
        for each in place.kept():
            with ledger.database.session() as session:
                forget = leftovers.useless(session, each)
            place.drop(forget.digests, forget.runs)

    tidy()
    assert all(path.exists() for path in (*whole, part))
    assert [each.runs for each in place.kept()] == [[run]], "a run that nobody knows has ended"
    ledger.record(Withdrawal(hub=ORIGIN, signer="law-institute", submission=gone.dataset))
    tidy()
    assert [path.exists() for path in (*whole, part)] == [True, False, True, False]
    end(ledger, run)
    tidy()
    assert [path.exists() for path in whole] == [True, False, False]
    assert [list(each.runs) for each in place.kept()] == [[]]
    assert kept.dataset != gone.dataset


def test_a_node_says_what_it_keeps_in_parts(place: Workplace, tmp_path: Path) -> None:
    assert list(place.kept()) == []
    digests = [digest_bytes(str(number).encode()) for number in range(1001)]
    cache(tmp_path, *digests)
    said = list(place.kept())
    assert [len(each.digests) for each in said] == [1000, 1]
    assert {digest for each in said for digest in each.digests} == set(digests)
    place.drop(digests[:1000], ["../../outside", "."])
    assert [list(each.digests) for each in place.kept()] == [[digests[1000]]]


def test_a_hub_that_forgets_nothing_answers_nothing(ledger: Base) -> None:
    with ledger.database.session() as session:
        answer = leftovers.useless(session, training_pb2.Kept(digests=[], runs=[]))
    assert not answer.digests
    assert not answer.runs
