"""Attacks on keys, statements and certificates: stolen, weak, replayed, rolled back, expired. Most of it must be refused."""

# ruff: noqa: F401, F811  (fixtures)

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import logging
import os
import random
import re
import subprocess
import tomllib
import venv
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from uv import find_uv_bin

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from hub import authorities
from hub.members import invitations
from protos.coalition.v1 import members_pb2, members_pb2_grpc
from protos.documents import statements
from protos.documents.base import Claim, rfc3339
from protos.documents.members import Delegation, Keys, NodeRevocation, Revocation
from protos.documents.runs import Stop
from protos.documents.standing import BY_CORE, introduce
from protos.documents.submissions import Dataset
from protos.transport.channel import Credentials, connect, connect_as_stranger
from protos.transport.enrolment import Enrolled, enrol
from protos.transport.errors import from_rpc_error
from tests.contributors.conftest import client, home, hub
from tests.contributors.served import Hub
from tests.contributors.test_keychain import say, verify
from tests.hub.conftest import ORIGIN, Base, base, database, database_url
from trust import dsse
from trust.authorities import sign_authorities, verify_authorities
from trust.certificates import Authority, new_client_request, party_uri, public_key_of_request
from trust.digests import digest_bytes
from trust.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from trust.invitations import Invitation, enrolment_challenge
from trust.keys import ArtifactKey, ArtifactPublicKey, LogKey
from trust.notes import TreeHead, sign_tree_head, verify_tree_head
from trust.points import check_ed25519

ROOT = Path(__file__).parents[2]
P = 2**255 - 19


def dataset(signer: str, name: str = "contracts", **changes: Any) -> Dataset:
    file = {"path": "a.jsonl", "digest": digest_bytes(b"{}"), "size": 2, "rows": 1}
    values = {"hub": ORIGIN, "signer": signer, "name": name, "domain": "law", "licence": "CC-BY-4.0"}
    return Dataset.read({**values, "provenance": "a test", "rows": 1, "files": [file], **changes})


def test_attack_06_a_stolen_artifact_key_is_cut_at_the_next_message(
    hub: Hub,
    client: Coalition,
    home: Home,
    tmp_path: Path,
) -> None:
    """A thief has the artifact key. Revocation from a ledger index: later statements are refused, earlier ones stay, and
    those recorded in between are quarantined by whoever verifies the ledger."""
    stolen, first = home.artifact_key(), say(hub, client, "mine")
    forged = hub.base.journal.record(statements.sign(dataset("law-institute", "forged"), stolen), "law-institute")
    keychain.revoke(client, "", forged.index, "stolen")
    with pytest.raises(Denied):
        hub.base.journal.record(statements.sign(dataset("law-institute", "late"), stolen), "law-institute")
    verdict = verify(hub, home)
    assert verdict.problems == []
    assert [line.split(":")[0] for line in verdict.quarantined] == [f"Entry {forged.index}"]
    assert first < forged.index


def test_attack_06_what_was_verified_before_a_revocation_is_not_recorded_after_it(base: Base) -> None:
    """The key is revoked between the check of the signature and the ledger's own entry: the entry's index decides."""
    key = base.enrol("law-institute")
    read = base.journal.read(envelope := statements.sign(dataset("law-institute"), key), "law-institute")
    base.enrol("core-team", "core")
    base.record(Revocation(hub=ORIGIN, signer="core-team", member="law-institute", compromised_since=0, reason="theft"))
    with pytest.raises(Denied, match="replaced or revoked"):
        base.journal._enqueue(read, envelope)


def test_attack_07_the_hubs_tls_key_forges_nothing(hub: Hub, home: Home) -> None:
    """A thief has the listeners' TLS key and certificate: no party's call, no authority, no statement, no tree head."""
    settings = hub.authorities._settings
    key, chain = settings.tls_key.read_bytes(), settings.tls_chain.read_bytes()
    with connect(f"127.0.0.1:{hub.port}", Credentials(hub.authorities.roots, chain, key)) as channel:
        assert isinstance(_problem(members_pb2_grpc.MembersStub(channel).WhoAmI), Denied | Invalid | Unavailable)
    stolen, mine = ArtifactKey.from_pem(key), Authority.create(ORIGIN).cert_pem
    with pytest.raises(Denied):
        verify_authorities(ORIGIN, mine, sign_authorities(ORIGIN, mine, stolen), home.statement_key())
    envelope = statements.sign(Stop(hub=ORIGIN, signer="law-institute", target="run-0"), stolen)
    with pytest.raises(Denied):
        hub.base.journal.record(envelope, "law-institute")
    note = sign_tree_head(TreeHead(ORIGIN, 1, bytes(32)), LogKey.generate(ORIGIN))
    with pytest.raises(Denied):
        verify_tree_head(note, home.ledger_key(), ORIGIN)


def test_attack_08_a_member_that_speaks_for_another_is_refused_and_logged(
    hub: Hub,
    client: Coalition,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Valid TLS of A, a valid statement of B: PERMISSION_DENIED, and the hub's log says who tried."""
    university = hub.home("University")
    claim = Keys(hub=ORIGIN, signer="university", version=2, keys=(ArtifactKey.generate().public.pem().decode(),))
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(Denied, match="is 'university''s, and you are 'law-institute'"),
    ):
        client.change_keys(statements.sign(claim, university.artifact_key()))
    assert "refused member law-institute" in caplog.text


def test_attack_09_a_valid_signature_of_somebody_who_may_not_say_it(base: Base) -> None:
    """Keys sign only what their member's role may say, at the hub and for whoever verifies the ledger."""
    roles = ("core", "contributor", "viewer")
    for role in roles:
        base.enrol(f"{role}-member", role)
    for role, kind in itertools.product(roles, sorted(statements.KINDS.keys() - statements.BY_HUB)):
        key = base.keys[f"{role}-member"].public
        standing = introduce(_member(f"{role}-member", role, key), 0)
        allowed = kind in ("keys", "revocation", "delegation") or (
            role != "viewer" and (role == "core" or kind not in BY_CORE)
        )
        claim = Claim(hub=ORIGIN, signer=f"{role}-member")
        if allowed:
            standing.allow(kind, claim, (key.keyid,), 1, claim.issued_at)
            continue
        with pytest.raises(Denied, match=f"a {role} signs no"):
            standing.allow(kind, claim, (key.keyid,), 1, claim.issued_at)
    with pytest.raises(Denied, match="signs no stop"):
        base.record(Stop(hub=ORIGIN, signer="contributor-member", target="run-0"))
    with pytest.raises(Denied, match="signs no dataset"):
        base.record(dataset("viewer-member"))


# --- 10: keys that are none ---------------------------------------------------------------------------------------------


def weak_ed25519() -> Iterator[bytes]:
    """Every encoding of every point of small order, every other non-canonical one, and what lies off the curve."""
    eight = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
    small = [0, 1, P - 1, eight, P - eight]
    yield from (value.to_bytes(32, "little") for y in small for sign in (0, 1) for value in [y | sign << 255])
    yield from ((P + y | sign << 255).to_bytes(32, "little") for y in range(19) for sign in (0, 1))
    yield from (bytes(length) for length in (0, 1, 31, 33, 64))
    found = 0
    for y in itertools.count(2):  # about half of all y are on no point
        square = (y * y - 1) * pow(-121665 * pow(121666, -1, P) * y * y + 1, -1, P) % P
        if pow(square, (P - 1) // 2, P) != 1:
            found += 1
            yield y.to_bytes(32, "little")
        if found == 60:
            return


def test_attack_10_weak_ed25519_keys_are_refused() -> None:
    """Small order, non-canonical, off the curve: OpenSSL verifies under many of them, so the encoding and order are checked."""
    refused = 0
    for raw in weak_ed25519():
        with pytest.raises(Invalid):
            check_ed25519(raw)
        refused += 1
    assert refused >= 110
    for _ in range(50):
        check_ed25519(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw())


def _pems(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _wrap(der: bytes, label: str = "PUBLIC KEY") -> bytes:
    lines = base64.encodebytes(der).replace(b"\n", b"")
    body = b"\n".join(lines[i : i + 64] for i in range(0, len(lines), 64))
    return f"-----BEGIN {label}-----\n".encode() + body + f"\n-----END {label}-----\n".encode()


def strange_p256() -> Iterator[bytes]:
    """Keys of other kinds, and other spellings of good ones."""
    yield from (
        _pems(ec.generate_private_key(curve).public_key()) for curve in (ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
    )
    yield from (_pems(kind.generate().public_key()) for kind in (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    yield _pems(x25519.X25519PrivateKey.generate().public_key())
    yield _pems(rsa.generate_private_key(65537, 2048).public_key())
    for _ in range(8):
        private = ec.generate_private_key(ec.SECP256R1())
        public = private.public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        header, point = spki[:26], spki[26:]
        compressed = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        yield _wrap(bytes([0x30, 0x39]) + header[2:23] + bytes([0x03, 0x22, 0x00]) + compressed)
        yield _wrap(bytes([0x30, 0x19]) + header[2:23] + bytes([0x03, 0x02, 0x00, 0x00]))  # the point at infinity
        yield _wrap(header + bytes([6 + (point[64] & 1)]) + point[1:])  # the hybrid form
        yield _wrap(header + point[:33] + bytes(32))  # off the curve
        yield _wrap(header + b"\x04" + P.to_bytes(32, "big") + point[33:])
        yield _wrap(spki + b"\0")
        yield _wrap(spki, "CERTIFICATE")
        yield _wrap(spki, "EC PUBLIC KEY")
        yield b"# mine\n" + _wrap(spki)
        yield _wrap(spki) + _wrap(spki)
        yield _wrap(spki).replace(b"\n", b"\r\n")
        yield private.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        yield public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        yield from (_wrap(spki[:cut]) for cut in range(0, 91, 5))
        yield from (_wrap(spki[:i] + bytes([spki[i] ^ 1]) + spki[i + 1 :]) for i in range(26))


def test_attack_10_keys_of_other_kinds_and_other_spellings_are_refused() -> None:
    """One key has one text: no other curve or algorithm, no compressed, hybrid or infinite point, nothing around it."""
    tried = 0
    for pem in strange_p256():
        with pytest.raises(Invalid):
            ArtifactPublicKey.from_pem(pem)
        tried += 1
    assert tried >= 400


def test_attack_10_a_key_that_is_anybodys_is_nobodys_second(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    """By the raw key, whatever its keyid or use: another member's, one's own TLS key, a delegate's, a replaced one."""
    old, tls = home.artifact_key(), ArtifactKey.from_pem(home.credentials().key)
    robot = keychain.delegate(client, tmp_path / "robot", "robot", ["dataset"], 1, 1).artifact_key()
    keychain.rotate(client)
    for number, key in enumerate((old, tls, robot, home.artifact_key())):
        with pytest.raises(Denied, match="in use already"):
            _enrol(hub, f"Thief {number}", key, new_client_request("x"))
    for key in (old, tls, robot, home.artifact_key()):
        with pytest.raises(Denied, match="in use already"):
            _enrol(hub, "Another", ArtifactKey.generate(), _request_for(key))
    same = ArtifactKey.generate()
    with pytest.raises(Denied, match="cannot be both"):
        _enrol(hub, "Third", same, _request_for(same))


def test_attack_10_possession_is_proved_now_for_every_key(hub: Hub) -> None:
    """A proof of another attempt, invitation, hub, use or key is none; a nonce serves once."""
    key, request = ArtifactKey.generate(), new_client_request("x")
    wrong: list[Callable[[dict[str, Any]], None]] = [
        lambda change: change.update(nonce=bytes(32)),
        lambda change: change.update(origin="asia"),
        lambda change: change.update(secret=digest_bytes(b"x")),
        lambda change: change.update(uses=("tls", "tls")),
        lambda change: change.update(uses=("artifact", "artifact")),
        lambda change: change.update(csr=b"another"),
        lambda change: change.update(signers=(ArtifactKey.generate(), None)),
        lambda change: change.update(signers=(None, ArtifactKey.generate())),
    ]
    for number, alter in enumerate(wrong):
        change: dict[str, Any] = {}
        alter(change)
        with pytest.raises(Denied, match="signature"):
            _enrol(hub, f"Member {number}", key, request, **change)
    token = Invitation.decode(hub.invite("Law Institute"))
    with connect_as_stranger("127.0.0.1", hub.enrol_port, hub.authorities.roots) as channel:
        door = members_pb2_grpc.EnrolmentStub(channel)
        nonce = door.Begin(members_pb2.BeginRequest(token_secret=token.secret), timeout=10).nonce
        bad = members_pb2.EnrolRequest(
            token_secret=token.secret, certificate_request=request[1], nonce=nonce, tls_proof=b"x"
        )
        assert isinstance(_problem(door.Enrol, bad), Denied)
        again = _problem(door.Enrol, bad)
    assert "not begun" in again.what
    assert hub.base.log.size == 0


def _enrol(hub: Hub, organisation: str, key: ArtifactKey, request: tuple[bytes, bytes], **change: Any) -> None:
    """Enrol with these very keys; `change` replaces parts of what the proofs are over."""
    token = Invitation.decode(hub.invite(organisation))
    tls_pem, csr = request
    signers, uses = change.get("signers", (None, None)), change.get("uses", ("artifact", "tls"))
    with connect_as_stranger("127.0.0.1", hub.enrol_port, hub.authorities.roots) as channel:
        door = members_pb2_grpc.EnrolmentStub(channel)
        nonce = door.Begin(members_pb2.BeginRequest(token_secret=token.secret), timeout=10).nonce
        rest = (
            change.get("origin", ORIGIN),
            change.get("nonce", nonce),
            change.get("secret", token.secret_hash()),
            change.get("csr", csr),
        )
        message = members_pb2.EnrolRequest(
            token_secret=token.secret,
            certificate_request=csr,
            artifact_key=key.public.pem(),
            artifact_proof=(signers[0] or key).sign(enrolment_challenge(uses[0], *rest)),
            nonce=nonce,
            tls_proof=(signers[1] or ArtifactKey.from_pem(tls_pem)).sign(enrolment_challenge(uses[1], *rest)),
        )
        try:
            door.Enrol(message, timeout=10)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None


def _request_for(key: ArtifactKey) -> tuple[bytes, bytes]:
    from cryptography import x509

    private = serialization.load_pem_private_key(key.private_pem(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private, hashes.SHA256())
    csr = request.public_bytes(Encoding.PEM)
    assert public_key_of_request(csr) == key.public
    return key.private_pem(), csr


# --- 11 to 13: envelopes ------------------------------------------------------------------------------------------------


def test_attack_11_only_the_verified_bytes_count(base: Base) -> None:
    """An envelope altered anywhere is refused, or says what was signed: there is no second reading of it."""
    key = base.enrol("law-institute")
    envelope = statements.sign(dataset("law-institute"), key)
    entry = base.journal.record(envelope, "law-institute")
    parsed, chance = json.loads(envelope), random.Random(11)
    payload = base64.b64decode(parsed["payload"])
    altered = []
    for position in chance.sample(range(len(envelope)), 300):
        flipped = bytearray(envelope)
        flipped[position] ^= 1 << chance.randrange(8)
        altered.append(bytes(flipped))
    evil = base64.b64encode(payload.replace(b"contracts", b"forgeries")).decode()
    text = envelope.decode()
    altered += [
        json.dumps({**parsed, "payload": evil}).encode(),
        text.replace('"payload":', f'"payload":"{evil}","payload":').encode(),
        text[:-1].encode() + f',"payload":"{evil}"'.encode() + b"}",
        dsse.seal(payload.replace(b'"name":"contracts"', b'"name":"contracts","name":"forgeries"'), key),
        dsse.seal(payload, key, payload_type="text/plain"),
        json.dumps({**parsed, "signatures": []}).encode(),
    ]
    for bad in altered:
        try:
            found = base.journal.record(bad, "law-institute")
        except Problem:
            continue
        assert found.index == entry.index
    assert base.log.size == 2


def test_attack_12_a_replay_has_no_second_effect(hub: Hub, client: Coalition, tmp_path: Path) -> None:
    """The same payload, signed again or not, answers with the first entry; another hub's statement is refused."""
    robot = keychain.delegate(client, tmp_path / "robot", "robot", ["dataset"], 5, 1)
    with Coalition(robot) as ci:
        envelope = ci.sign(dataset("law-institute")).envelope
    first = hub.base.journal.record(envelope, "law-institute")
    payload = dsse.open_envelope(envelope).payload
    for again in (envelope, dsse.seal(payload, robot.artifact_key()), dsse.seal(payload, robot.artifact_key())):
        assert hub.base.journal.record(again, "law-institute").index == first.index
    assert client.keys().delegations[0].used == 1
    elsewhere = statements.sign(dataset("law-institute", hub="asia"), client.home.artifact_key())
    with pytest.raises(Denied, match="signed for the hub 'asia'"):
        hub.base.journal.record(elsewhere, "law-institute")


def test_attack_13_key_manifests_only_go_forward(base: Base) -> None:
    """Version +1 exactly, signed by a present key and by every new one; a key that was given up never comes back."""
    one, two, three = base.enrol("law-institute"), ArtifactKey.generate(), ArtifactKey.generate()

    def change(version: int, keys: list[ArtifactKey], *signers: ArtifactKey) -> None:
        pems = [key.public.pem().decode() for key in keys]
        claim = Keys.read({"hub": ORIGIN, "signer": "law-institute", "version": version, "keys": pems})
        base.journal.record(statements.sign(claim, *signers), "law-institute")

    change(2, [two], one, two)
    refused: list[tuple[int, list[ArtifactKey], tuple[ArtifactKey, ...]]] = [
        *((version, [three], (two, three)) for version in (2, 4, 5, 100)),  # rolled back, or jumping
        (3, [three], (three,)),  # not signed by the present key
        (3, [three], (two,)),  # nor by the new one
        (3, [three], (one, three)),  # but by the one before
        (3, [one], (one, two)),  # one that was given up
        (3, [two, one], (one, two)),
    ]
    for version, keys, signers in refused:
        with pytest.raises(Denied):
            change(version, keys, *signers)
    with pytest.raises(Invalid):
        change(1, [three], two, three)
    with pytest.raises(Invalid, match="twice"):
        change(3, [three, three], two, three)  # one key does not count as two
    change(3, [two, three], two, three)
    change(4, [three], three)
    assert base.log.size == 4


# --- 32 and 35: time ----------------------------------------------------------------------------------------------------


class Echo(grpc.GenericRpcHandler):
    """Streams behind the hub's own access: what comes in goes out; who watches is told without end."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for request in requests:
                yield request

        async def tell(request: bytes, context: Any) -> AsyncIterator[bytes]:
            while True:
                yield b"more"

        watched = details.method.endswith("/WatchRun")
        return grpc.unary_stream_rpc_method_handler(tell) if watched else grpc.stream_stream_rpc_method_handler(echo)


class Stream:
    """One open stream to `Echo`; `say` answers with what came back, or raises what ended the stream."""

    def __init__(self, channel: grpc.Channel, path: str = "Submissions/Upload") -> None:
        self._words: SimpleQueue[bytes] = SimpleQueue()
        self._answers = channel.stream_stream(f"/coalition.v1.{path}")(iter(self._words.get, b""), timeout=60)

    def say(self, word: bytes) -> bytes:
        self._words.put(word)
        try:
            return bytes(next(self._answers))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None


class EchoHub(Hub):
    def _add_rooms(self, server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((Echo(),))


def _talk(stream: Stream) -> None:
    while True:
        stream.say(b"more")


@pytest.fixture
def echo(base: Base, tmp_path: Path) -> Iterator[EchoHub]:
    found = EchoHub(base, tmp_path / "homes")
    found.start()
    yield found
    found.stop()


def test_attack_32_an_open_stream_ends_at_the_next_message_after_revocation(echo: EchoHub) -> None:
    """Revoked while a stream is open: the member's keys, or the TLS key of this very connection."""
    echo.base.enrol("core-team", "core")
    for organisation, revoke_tls in (("Law Institute", False), ("University", True)):
        found = echo.home(organisation)
        member, credentials = found.identity().id, found.credentials()
        tls = ArtifactKey.from_pem(credentials.key).public.keyid if revoke_tls else None
        with connect(f"127.0.0.1:{echo.port}", credentials) as channel:
            stream = Stream(channel)
            assert stream.say(b"one") == b"one"
            claim = {"member": member, "key": tls, "compromised_since": 0, "reason": "theft"}
            echo.base.record(Revocation.read({"hub": ORIGIN, "signer": "core-team", **claim}))
            with pytest.raises(Denied, match="revoked"):
                stream.say(b"two")


def test_attack_32_who_only_listens_is_cut_as_well(echo: EchoHub) -> None:
    """A stream on which the hub alone speaks: each of its messages is authorised."""
    echo.base.enrol("core-team", "core")
    with connect(f"127.0.0.1:{echo.port}", echo.home("Law Institute").credentials()) as channel:
        answers = channel.unary_stream("/coalition.v1.Training/WatchRun")(b"", timeout=30)
        assert next(answers) == b"more"
        claim = {"member": "law-institute", "compromised_since": 0, "reason": "theft"}
        echo.base.record(Revocation.read({"hub": ORIGIN, "signer": "core-team", **claim}))
        with pytest.raises(grpc.RpcError) as ended:
            list(answers)
    assert isinstance(from_rpc_error(ended.value), Denied)


def test_attack_32_a_node_that_is_revoked_is_cut_and_comes_back_by_invitation_alone(echo: EchoHub) -> None:
    """On the connection that is open, for every certificate it had, and for its renewal; the core team alone may do it."""
    node = _enrol_node(echo)
    with Coalition(echo.home("Law Institute")) as law, pytest.raises(Denied, match="signs no node-revocation"):
        echo.base.journal.record(law.sign(_gone("law-institute")).envelope, "law-institute")
    echo.base.enrol("core-team", "core")
    with connect(f"127.0.0.1:{echo.port}", node.credentials) as channel:
        stream = Stream(channel, "Nodes/Attach")
        assert stream.say(b"one") == b"one"
        echo.base.record(_gone("core-team"))
        with pytest.raises(Denied, match="was revoked"):
            stream.say(b"two")
    with pytest.raises(Denied, match="was revoked"):
        _certified_again(echo)
    with pytest.raises(Conflict, match=r"was revoked at .* already"):
        echo.base.record(_gone("core-team", "again"))
    again = _enrol_node(echo)
    with connect(f"127.0.0.1:{echo.port}", again.credentials) as channel:
        assert Stream(channel, "Nodes/Attach").say(b"three") == b"three"
    with connect(f"127.0.0.1:{echo.port}", node.credentials) as channel, pytest.raises(Denied, match="was revoked"):
        Stream(channel, "Nodes/Attach").say(b"four")
    with pytest.raises(NotFound, match="no node gpu-2"):
        echo.base.record(_gone("core-team").model_copy(update={"node": "gpu-2"}))


def _enrol_node(echo: EchoHub) -> Enrolled:
    token = Invitation.create(echo.authorities.issuing.fingerprint, echo.enrol_port)
    with echo.base.database.session(writing=True) as session:
        invitations.invite_node(session, token, "Core Team", "gpu-1")
    return enrol("127.0.0.1", token, "gpu-1", None)


def _gone(signer: str, reason: str = "stolen") -> NodeRevocation:
    return NodeRevocation(hub=ORIGIN, signer=signer, node="gpu-1", reason=reason)


def _certified_again(echo: EchoHub) -> None:
    echo.base.certification(echo.authorities).issue(new_client_request("gpu-1")[1], "node", "gpu-1", "")


def test_attack_32_an_open_stream_ends_when_its_certificate_expires(echo: EchoHub) -> None:
    """Also one that was issued by an authority that is trusted no more: its life is short."""
    found = echo.home("Law Institute")
    key, request = new_client_request("law")
    uri = party_uri(ORIGIN, "member", "law-institute")
    certificate = echo.authorities.issuing.issue_client(request, uri, 3 / 86_400)
    with connect(f"127.0.0.1:{echo.port}", Credentials(found.credentials().authority, certificate, key)) as channel:
        stream = Stream(channel)
        assert stream.say(b"one") == b"one"
        with pytest.raises(Denied, match="expired"):
            _talk(stream)


def test_attack_32_an_open_stream_ends_when_the_authority_of_its_certificate_is_retired(echo: EchoHub) -> None:
    """TLS asked for the issuer when the connection was made; the hub asks at every message. Who renewed goes on."""
    settings = echo.authorities._settings
    late, _ = echo.home("Late Institute").credentials(), echo.home("Law Institute")
    authorities.rotate(settings)
    key, request = new_client_request("law")
    renewed = echo.authorities.issuing.issue_client(request, party_uri(ORIGIN, "member", "law-institute"))
    address, law = f"127.0.0.1:{echo.port}", Credentials(echo.authorities.roots, renewed, key)
    with connect(address, late) as late_channel, connect(address, law) as channel:
        streams = Stream(late_channel), Stream(channel)
        assert [stream.say(b"one") for stream in streams] == [b"one", b"one"]
        authorities.retire(settings, at_once=True)
        with pytest.raises(Denied, match="authority that was retired"):
            streams[0].say(b"two")
        assert streams[1].say(b"two") == b"two"


def test_attack_35_a_clock_that_was_set_back_stops_the_certificates_of_one_member_alone(
    hub: Hub, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger says that the member was revoked tomorrow: it hears so at once, and nobody waits behind it."""
    hub.base.enrol("core-team", "core")
    tomorrow = rfc3339(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    with monkeypatch.context() as patch:
        patch.setattr("hub.ledger.entries.now", lambda: tomorrow)
        claim = {"member": "law-institute", "compromised_since": 0, "reason": "theft"}
        hub.base.record(Revocation.read({"hub": ORIGIN, "signer": "core-team", **claim}))
    with pytest.raises(Unavailable, match="seconds behind its ledger"):
        hub.home("Law Institute", directory="again")
    assert hub.home("University").enrolled


def test_attack_35_clocks_that_are_wrong_by_a_day_change_no_order(base: Base) -> None:
    """Order is the ledger's index; a clock counts for expiry alone, with five minutes of grace and an error that names both."""
    key = base.enrol("law-institute")
    for number, days in enumerate((1, -1, 0), start=1):
        told = (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        claim = dataset("law-institute", f"data-{number}", issued_at=told)
        assert base.journal.record(statements.sign(claim, key), "law-institute").index == number
    robot, standing = ArtifactKey.generate(), introduce(_member("law-institute", "contributor", key.public), 0)
    delegation = {"name": "robot", "key": robot.public.pem().decode(), "kinds": ["dataset"], "budget": 5}
    made = Delegation.read(
        {"hub": ORIGIN, "signer": "law-institute", **delegation, "expires_at": "2026-03-29T01:00:00Z"}
    )
    standing = standing.with_delegation(made, "delegation-0", 1)
    claim = dataset("law-institute", delegation="delegation-0")
    for time in ("2026-03-28T01:00:00.000Z", "2026-03-29T00:59:59.000Z", "2026-03-29T01:04:59.000Z"):
        standing.allow("dataset", claim, (robot.public.keyid,), 9, time)
    for time in ("2026-03-29T01:05:01.000Z", "2026-03-30T01:00:00.000Z"):
        with pytest.raises(Denied, match="expired at 2026-03-29T01:00:00Z; it is 2026-03-"):
            standing.allow("dataset", claim, (robot.public.keyid,), 9, time)
    with pytest.raises(Invalid):  # local time, with its gaps and repetitions, is none
        Delegation.read({"hub": ORIGIN, "signer": "x", **delegation, "expires_at": "2026-03-29T02:30:00+01:00"})


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_attack_35_a_delegation_ends_at_a_moment_of_the_calendar(end: str) -> None:
    """What cannot be reckoned with is refused before anything is: a later comparison would fail for everybody."""
    key = ArtifactKey.generate().public.pem().decode()
    values = {"name": "robot", "key": key, "kinds": ["dataset"], "budget": 5, "expires_at": end}
    with pytest.raises(Invalid, match="expires_at"):
        Delegation.read({"hub": ORIGIN, "signer": "law-institute", **values})


@pytest.mark.parametrize("clock", ["9999-12-31T23:59:59Z", "2026-01-01", "2016-12-31T23:59:60Z", "noon"])
def test_attack_35_whatever_a_members_clock_says_whoever_reckons_with_it_gets_an_answer(clock: str) -> None:
    """Also where an entry of a hostile hub says that it was recorded then: a refusal at worst, and no crash."""
    key, robot = ArtifactKey.generate(), ArtifactKey.generate()
    values = {"name": "robot", "key": robot.public.pem().decode(), "kinds": ["dataset"], "budget": 5}
    claim = Delegation.read(
        {"hub": ORIGIN, "signer": "law-institute", "issued_at": clock, **values, "expires_at": _in_days(1)}
    )
    standing = introduce(_member("law-institute", "contributor", key.public), 0)
    with suppress(Denied, Invalid):
        standing.allow("delegation", claim, (key.public.keyid, robot.public.keyid), 1, claim.issued_at)


def test_attack_35_a_delegation_ends_within_a_year_by_the_hubs_clock(base: Base) -> None:
    key, robot = base.enrol("law-institute"), ArtifactKey.generate()
    values = {"name": "robot", "key": robot.public.pem().decode(), "kinds": ["dataset"], "budget": 5}
    end = _in_days(367)
    claim = Delegation.read({"hub": ORIGIN, "signer": "law-institute", **values, "expires_at": end})
    with pytest.raises(Denied, match="366 days at most"):
        base.journal.record(statements.sign(claim, key, robot), "law-institute")


# --- 40: supply chain and robots ----------------------------------------------------------------------------------------


LOCKS = ("requirements.lock", "requirements-node.lock")
WITHOUT_HASHES = {"torch"}
"""Its build is chosen where it is installed: see the threat model."""


def test_attack_40_every_package_is_pinned_to_one_version_and_to_the_bytes_of_its_files() -> None:
    """Nothing else stands in the locks: above all no other place to take a package from."""
    pinned = set()
    for lock in LOCKS:
        text = re.sub(r"(?m)^#.*\n", "", (ROOT / lock).read_text()).replace("\\\n", " ")
        for line in text.splitlines():
            found = re.fullmatch(r"([A-Za-z0-9._-]+)==[0-9][0-9A-Za-z.]*((?: +--hash=sha256:[0-9a-f]{64})*) *", line)
            assert found, line
            assert bool(found[2]) != (found[1] in WITHOUT_HASHES), line
            pinned.add(_normal(found[1]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (tasks,) = extras.pop("tasks")  # which no target installs
    assert tasks == "reasoning-gym==0.1.25"
    wanted = [*project["dependencies"], *itertools.chain(*extras.values())]
    for requirement in wanted:
        name = _normal(re.split(r"[\[=<>~!; ]", requirement)[0])
        assert name in pinned or name == _normal(project["name"]), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_attack_40_a_package_of_other_bytes_than_its_lock_names_is_not_installed(tmp_path: Path, lock: str) -> None:
    """By the command of `make install`, whichever lock names it; an index, or a folder of wheels, that hands out other bytes."""
    wheel = tmp_path / "wheels" / "harmless-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("harmless.py", "")
        archive.writestr("harmless-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n")
        archive.writestr(
            "harmless-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("harmless-1.0.dist-info/RECORD", "")
    (tmp_path / "uv.toml").write_text(f'no-index = true\nno-cache = true\nfind-links = ["{wheel.parent}"]\n')
    alone = {"PATH": os.environ["PATH"], "UV_CONFIG_FILE": str(tmp_path / "uv.toml")}
    venv.create(tmp_path / ".venv", symlinks=True)
    (tmp_path / ".venv/bin/uv").symlink_to(find_uv_bin())
    for name in LOCKS:
        (tmp_path / name).write_text("")

    def install(digest: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / lock).write_text(f"harmless==1.0 \\\n    --hash={digest}\n")
        command = ["make", "-f", str(ROOT / "Makefile"), ".venv/.packages"]
        return subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)

    right = digest_bytes(wheel.read_bytes())
    refused = install(digest_bytes(b"other bytes"))
    assert refused.returncode != 0
    assert "Hash mismatch" in refused.stderr
    assert right in refused.stderr
    assert list(tmp_path.glob(".venv/lib/*/site-packages/harmless*")) == []
    assert install(right).returncode == 0
    assert list(tmp_path.glob(".venv/lib/*/site-packages/harmless.py"))


def test_attack_40_a_robot_that_was_talked_into_something_stays_within_its_delegation(
    hub: Hub,
    client: Coalition,
    tmp_path: Path,
) -> None:
    """An agent reads a poisoned dataset and obeys it: whatever it signs beyond its kinds and budget is refused, it cannot
    widen its scope, and all it did stands in the ledger under its delegation."""
    robot = keychain.delegate(client, tmp_path / "robot", "robot", ["dataset"], 1, 1)
    key, mandate = robot.artifact_key(), robot.identity().delegation
    done = hub.base.journal.record(statements.sign(dataset("law-institute", delegation=mandate), key), "law-institute")
    assert done.claim.delegation == mandate
    new = ArtifactKey.generate().public.pem().decode()
    ours = {"hub": ORIGIN, "signer": "law-institute"}
    wider = {"name": "more", "key": new, "kinds": ["dataset"], "budget": 99, "expires_at": _in_days(1)}
    attempts: list[Claim] = [
        dataset("law-institute", "another"),
        Stop.read({**ours, "target": "run-0"}),
        Keys.read({**ours, "version": 2, "keys": [new]}),
        Revocation.read({**ours, "member": "law-institute", "compromised_since": 0, "reason": "x"}),
        Delegation.read({**ours, **wider}),
    ]
    for claim, by in itertools.product(attempts, (None, mandate, "delegation-000000000000")):
        envelope = statements.sign(claim.model_copy(update={"delegation": by}), key)
        with pytest.raises(Denied):
            hub.base.journal.record(envelope, "law-institute")
    with pytest.raises(Invalid):
        Delegation.read({**ours, **wider, "kinds": ["release"]})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _member(member: str, role: str, key: ArtifactPublicKey) -> Any:
    from protos.documents.members import Member

    values = {"hub": ORIGIN, "signer": "hub", "member": member, "organisation": member, "role": role}
    return Member.read({**values, "artifact_key": key.pem().decode()})


def _problem(method: Callable[..., Any], request: Any = None) -> Problem:
    with pytest.raises(grpc.RpcError) as caught:
        method(members_pb2.WhoAmIRequest() if request is None else request, timeout=10)
    return from_rpc_error(caught.value)


def _in_days(days: int) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
