"""Attacks on the way in, over real mutual TLS: chunks that are not the file's, floods, streams that never end, names, bombs."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from contributors.client import Coalition
from hub.disposal import Disposal
from hub.ledger import grants
from hub.rates import Limit, Rates
from hub.submissions import drafts, uploads
from hub.submissions.stale import Sweeper
from protos.coalition.v1 import common_pb2, members_pb2, members_pb2_grpc, submissions_pb2
from protos.coalition.v1.submissions_pb2 import UploadChunk
from protos.coalition.v1.submissions_pb2_grpc import SubmissionsStub
from protos.documents.submissions import Dataset
from protos.transport.errors import from_rpc_error
from protos.transport.uploads import Source
from tests.contributors.conftest import base, client, database, database_url, home, hub  # noqa: F401  (fixtures)
from tests.contributors.served import Hub
from trust.digests import CHUNK, digest_bytes
from trust.errors import Conflict, Corrupt, Exhausted, Invalid, NotFound, Problem, Unavailable

DATA = os.urandom(3 * CHUNK + 1000)
OTHER = os.urandom(len(DATA))


def manifest(client: Coalition, data: bytes, name: str = "contracts", path: str = "data.jsonl") -> Any:  # noqa: F811
    claim = Dataset.read(
        {
            "hub": client.identity.hub,
            "signer": client.identity.id,
            "name": name,
            "domain": "law",
            "licence": "CC-BY-4.0",
            "provenance": "made for a test",
            "rows": 1,
            "files": [{"path": path, "digest": digest_bytes(data), "size": len(data), "rows": 1}],
        }
    )
    return client.sign(claim)


class Sender:
    """A member that sends what it likes."""

    def __init__(self, client: Coalition, directory: Path) -> None:  # noqa: F811
        self.client, self.stub = client, SubmissionsStub(client.channel)
        self.file = directory / "file"

    def open(self, data: bytes, name: str = "contracts") -> submissions_pb2.OpenResponse:
        return self.stub.Open(manifest(self.client, data, name), timeout=30)

    def chunks(self, opened: submissions_pb2.OpenResponse, data: bytes) -> list[UploadChunk]:
        """What an honest member sends for a file that it was asked for."""
        self.file.write_bytes(data)
        missing = opened.missing[0]
        return list(Source(self.file).chunks(opened.id, missing.digest, missing.offset, lambda n: None))

    def send(self, messages: list[UploadChunk]) -> submissions_pb2.UploadResponse | Problem:
        try:
            return self.stub.Upload(iter(messages), timeout=60)
        except grpc.RpcError as error:
            return from_rpc_error(error)


@pytest.fixture
def sender(client: Coalition, tmp_path: Path) -> Sender:  # noqa: F811
    return Sender(client, tmp_path)


def changed(chunk: UploadChunk, **fields: Any) -> UploadChunk:
    other = UploadChunk()
    other.CopyFrom(chunk)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def corrupted(c: list[UploadChunk]) -> list[UploadChunk]:
    return [*c[:2], changed(c[2], data=flipped(c[2].data)), *c[3:]]


def reordered(c: list[UploadChunk]) -> list[UploadChunk]:
    return [*c[:2], c[3], c[2], *c[4:]]


def exchanged(c: list[UploadChunk]) -> list[UploadChunk]:
    """The bytes of two chunks change places, their offsets do not."""
    return [*c[:2], changed(c[2], data=c[3].data), changed(c[3], data=c[2].data), *c[4:]]


def duplicated(c: list[UploadChunk]) -> list[UploadChunk]:
    return [*c[:2], c[1], *c[2:]]


def left_out(c: list[UploadChunk]) -> list[UploadChunk]:
    return [*c[:2], *c[3:]]


def relabelled(c: list[UploadChunk]) -> list[UploadChunk]:
    """A repeated chunk with the next one's place."""
    return [*c[:2], changed(c[1], offset=CHUNK), *c[2:]]


@pytest.mark.parametrize("attack", [corrupted, reordered, exchanged, duplicated, left_out, relabelled])
def test_attack_30_a_chunk_that_is_not_the_next_one_is_refused_at_that_chunk(sender: Sender, attack: Any) -> None:
    """30: a chunk is corrupted, reordered, repeated or missing: it is refused there, what came before stays and is resumed."""
    opened = sender.open(DATA)
    honest = sender.chunks(opened, DATA)
    refused = sender.send(attack(honest))
    assert isinstance(refused, Corrupt | Conflict), refused
    again = sender.open(DATA)
    assert again.missing[0].offset == CHUNK
    done = sender.send(sender.chunks(again, DATA))
    assert isinstance(done, submissions_pb2.UploadResponse)
    assert done.complete


def test_attack_30_an_upload_resumed_with_other_bytes_is_refused_before_a_byte_of_it(sender: Sender) -> None:
    """30: after a cut another file goes on under the first one's name: refused at its first message, nothing of both is kept."""
    opened = sender.open(DATA)
    partial = sender.send(sender.chunks(opened, DATA)[:3])
    assert isinstance(partial, submissions_pb2.UploadResponse)
    assert (partial.offset, partial.complete) == (2 * CHUNK, False)
    refused = sender.send(sender.chunks(sender.open(DATA), OTHER))
    assert isinstance(refused, Corrupt)
    assert "not how your file begins" in refused.what
    assert sender.open(DATA).missing[0].offset == 0


def test_attack_30_the_digest_that_was_signed_decides(sender: Sender) -> None:
    """30: chunks that fit each other and are another file's all the same: the signed digest refuses, nothing is stored."""
    opened = sender.open(DATA)
    refused = sender.send(sender.chunks(opened, OTHER))
    assert isinstance(refused, Corrupt)
    assert "not those of" in refused.what
    assert sender.open(DATA).missing[0].offset == 0


def test_attack_27_tiny_oversize_and_endless_messages_are_refused(sender: Sender) -> None:
    """27: messages smaller than a chunk, larger than one, and beyond the announced size are refused as they come."""
    opened = sender.open(DATA)
    first, *rest = sender.chunks(opened, DATA)
    for data in (b"x", b"", DATA[: 2 * CHUNK]):
        assert isinstance(sender.send([first, changed(rest[0], data=data)]), Invalid)
    beyond = UploadChunk(offset=len(DATA), data=bytes(CHUNK), prefix=bytes(32))
    assert isinstance(sender.send([first, *rest, beyond]), Invalid)
    assert isinstance(sender.send([changed(first, data=b"x")]), Invalid)
    assert isinstance(sender.send([]), Invalid)


def test_attack_27_a_stream_that_stops_sending_is_ended(
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """27: a slow loris: the stream stays open and sends nothing; it is ended, what came is kept, the file can be sent."""
    monkeypatch.setattr(uploads, "IDLE", 0.3)
    opened = sender.open(DATA)
    honest = sender.chunks(opened, DATA)
    ended = threading.Event()

    def messages() -> Iterator[UploadChunk]:
        yield from honest[:2]
        ended.wait(30)

    call = sender.stub.Upload.future(messages(), timeout=60)
    call.add_done_callback(lambda call: ended.set())
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    problem = from_rpc_error(caught.value)
    assert isinstance(problem, Unavailable)
    assert "Nothing came for" in problem.what
    monkeypatch.setattr(uploads, "IDLE", 30.0)
    again = sender.open(DATA)
    assert again.missing[0].offset == CHUNK
    assert isinstance(sender.send(sender.chunks(again, DATA)), submissions_pb2.UploadResponse)


def test_a_file_sent_again_while_its_first_upload_hangs_takes_its_place(sender: Sender) -> None:
    """The line was cut and the hub does not know: who sends again does not wait until it notices."""
    opened = sender.open(DATA)
    chunks = sender.chunks(opened, DATA)
    sent, goes_on, told = threading.Event(), threading.Event(), []

    def hangs() -> Iterator[UploadChunk]:
        yield from chunks[:2]
        sent.set()
        goes_on.wait()

    def first() -> None:
        try:
            told.append(sender.stub.Upload(hangs(), timeout=60))
        except grpc.RpcError as error:
            told.append(from_rpc_error(error))

    hanging = threading.Thread(target=first)
    hanging.start()
    sent.wait()
    while True:  # what came of the first one may have grown between the question and the upload
        here = sender.open(DATA).missing[0].offset
        rest = Source(sender.file).chunks(opened.id, opened.missing[0].digest, here, lambda n: None)
        answer = sender.send(list(rest))
        if not isinstance(answer, Unavailable):
            break
    assert not isinstance(answer, Problem)
    assert answer.complete
    goes_on.set()
    hanging.join()
    assert isinstance(told[0], Conflict)
    assert "took the place" in told[0].what


def test_attack_27_submissions_that_are_never_committed_are_dropped_and_their_reservation_returned(
    hub: Hub,  # noqa: F811
    sender: Sender,
) -> None:
    """27: opened, sent in part, never committed: the quota bounds them, and when they are stale nothing of them is left."""
    for number in range(19):
        sender.open(DATA, f"contracts-{number}")
    whole = sender.open(OTHER, "a-whole-file")
    assert isinstance(sender.send(sender.chunks(whole, OTHER)), submissions_pb2.UploadResponse)
    opened = sender.open(DATA, "contracts-0")
    assert isinstance(sender.send(sender.chunks(opened, DATA)[:2]), submissions_pb2.UploadResponse)
    with pytest.raises(grpc.RpcError) as caught:
        sender.open(DATA, "one-too-many")
    assert isinstance(from_rpc_error(caught.value), Conflict)
    base = hub.base  # noqa: F811
    os.utime(base.blobs.path(digest_bytes(OTHER)), (0, 0))  # an hour ago
    disposal = Disposal(base.database, base.blobs, (grants.named, drafts.counts_on))
    sweeper = Sweeper(base.database, base.blobs, disposal, 7, lambda draft: None)
    now = dt.datetime.now(dt.UTC)
    assert sweeper.look(now - dt.timedelta(hours=1)).dropped == []
    swept = sweeper.look(now + dt.timedelta(hours=1))
    assert (len(swept.dropped), swept.deleted) == (20, [digest_bytes(OTHER)])
    assert base.blobs.partials.size(opened.id, opened.missing[0].digest) == 0
    assert not base.blobs.has(digest_bytes(OTHER))
    assert sender.open(DATA, "one-too-many").missing[0].offset == 0


def test_attack_28_a_question_without_deadline_and_a_large_header_are_refused(hub: Hub, client: Coalition) -> None:  # noqa: F811
    """28: calls that would hold the hub for ever, or fill its memory with headers, are refused; others are answered."""
    stub = members_pb2_grpc.MembersStub(client.channel)
    for timeout in (None, 10_000):
        with pytest.raises(grpc.RpcError) as caught:
            stub.WhoAmI(members_pb2.WhoAmIRequest(), timeout=timeout)
        assert isinstance(from_rpc_error(caught.value), Invalid)
    with pytest.raises(grpc.RpcError) as large:
        stub.WhoAmI(members_pb2.WhoAmIRequest(), timeout=10, metadata=[("x-large", "y" * (64 << 10))])
    assert large.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.whoami().id == "law-institute"


def test_attack_29_one_members_flood_is_told_to_wait_and_others_are_answered(hub: Hub, client: Coalition) -> None:  # noqa: F811
    """29: a member that calls without pause is refused with the time to wait, by member and not by address; its client
    obeys; another member at the same address is answered."""
    hub.stop()
    hub.rates = Rates(Limit(rate=5, burst=10))
    hub.start()
    stub = members_pb2_grpc.MembersStub(client.channel)
    refused: list[tuple[grpc.StatusCode, Problem]] = []
    for _ in range(25):
        try:
            stub.WhoAmI(members_pb2.WhoAmIRequest(), timeout=10, wait_for_ready=True)
        except grpc.RpcError as error:
            refused.append((error.code(), from_rpc_error(error)))
    assert refused
    for code, problem in refused:
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(problem, Exhausted)
        assert 0 < problem.retry_after <= 0.2
    with Coalition(hub.home("University")) as other:
        assert other.whoami().id == "university"
    assert client.whoami().id == "law-institute"  # it waited as it was told


def test_attack_31_no_answer_tells_what_another_member_has(hub: Hub, client: Coalition, tmp_path: Path) -> None:  # noqa: F811
    """31: whoever names the digest of another's data is answered as for data that nobody has."""
    with Coalition(hub.home("University")) as other:
        owner = Sender(other, tmp_path)
        opened = owner.open(DATA)
        done = owner.send(owner.chunks(opened, DATA))
        assert isinstance(done, submissions_pb2.UploadResponse)
        assert done.complete
    prober = Sender(client, tmp_path)
    held, unknown = prober.open(DATA, "held"), prober.open(OTHER, "unknown")
    assert [m.offset for m in held.missing] == [m.offset for m in unknown.missing] == [0]
    answers = []
    for probe, data in ((held, DATA), (unknown, OTHER)):
        commit = _refusal(lambda probe=probe: prober.stub.Commit(common_pb2.ById(id=probe.id), timeout=30))
        read = _refusal(lambda data=data: client.blob(digest_bytes(data)))
        foreign = UploadChunk(submission=opened.id, digest=digest_bytes(data), prefix=bytes(32))
        answers.append([commit, read, prober.send([foreign])])
        assert isinstance(read, NotFound)
    words = [
        [str(a).replace(probe.id, "ID").replace(digest_bytes(data), "DIGEST") for a in each]
        for each, probe, data in zip(answers, (held, unknown), (DATA, OTHER), strict=True)
    ]
    assert words[0] == words[1]


def _refusal(call: Any) -> Problem:
    with pytest.raises((grpc.RpcError, Problem)) as caught:
        call()
    return from_rpc_error(caught.value) if isinstance(caught.value, grpc.RpcError) else caught.value


def test_attack_25_a_compressed_bomb_is_refused_by_its_decompressed_size(hub: Hub, client: Coalition) -> None:  # noqa: F811
    """25: 128 MiB of zeros as an eighth of a MiB of gzip: refused by what it would become, before it is a message."""
    with grpc.secure_channel(
        client.identity.address,
        client.home.credentials().for_grpc(),
        options=[("grpc.max_send_message_length", 1 << 30)],
        compression=grpc.Compression.Gzip,
    ) as channel:
        bomb = common_pb2.SignedStatement(envelope=bytes(128 << 20))
        with pytest.raises(grpc.RpcError) as caught:
            SubmissionsStub(channel).Open(bomb, timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "ecompressed" in caught.value.details()
    assert client.whoami().id == "law-institute"


def test_attack_24_names_that_are_two_files_or_a_device_do_not_get_in(sender: Sender) -> None:
    """24: names that differ by case alone, or that are devices somewhere, are refused when the manifest comes."""
    for paths in (("a.jsonl", "A.JSONL"), ("con", "b"), ("a", "a/b")):
        files = [{"path": p, "digest": digest_bytes(p.encode()), "size": len(p), "rows": 1} for p in paths]
        claim = Dataset.read(
            {
                "hub": sender.client.identity.hub,
                "signer": sender.client.identity.id,
                "name": "names",
                "domain": "law",
                "licence": "CC-BY-4.0",
                "provenance": "made for a test",
                "rows": 2,
                "files": files,
            }
        )
        with pytest.raises(grpc.RpcError) as caught:
            sender.stub.Open(sender.client.sign(claim), timeout=30)
        assert isinstance(from_rpc_error(caught.value), Invalid)
