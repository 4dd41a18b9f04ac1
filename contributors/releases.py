"""Releases: cut and signed by a core member, downloaded by anyone, verified offline with the keys alone.

Beside the signed files a release folder holds `model.sig` (Sigstore bundle over them), `release.dsse.json` (the release
statement), `release.tlog-proof` and `release.leaf` (its place in the ledger), and `keys/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from contributors.client import Coalition
from contributors.home import Home
from contributors.receipts import check_receipt, keep_receipt
from protos.coalition.v1 import models_pb2
from protos.documents import statements
from protos.documents.base import FileEntry
from protos.documents.leaf import Leaf
from protos.documents.members import Member
from protos.documents.models import Model, Release
from protos.documents.statements import HUB
from trust.bundles import sign_files, verify_folder
from trust.canonical import emit, parse
from trust.digests import Digest, digest_bytes, hex_of
from trust.errors import Conflict, Corrupt, Denied, Invalid, NotFound
from trust.files import write_atomic
from trust.keys import ArtifactPublicKey, LogPublicKey
from trust.receipts import Receipt, verify_receipt
from trust.statements import payload_digest, verify_statement

SIGNATURE = "model.sig"
STATEMENT = "release.dsse.json"
PROOF = "release.tlog-proof"
LEAF = "release.leaf"
KEYS = "keys"
UNSIGNED = (SIGNATURE, STATEMENT, PROOF, LEAF, KEYS)
WRITTEN = frozenset({"README.md", "provenance.json"})
"""What the hub writes about a model: its card and the digests of all that went in."""

MAX_SMALL = 16 << 20


@dataclass(frozen=True)
class Trusted:
    """Whom a verification rests on. `pinned` says whether our own home vouches for the keys, or only the folder itself."""

    ledger_key: LogPublicKey
    hub_key: ArtifactPublicKey
    pinned: bool

    def fingerprint(self) -> str:
        """What to compare with the hub's operators when the keys came with the folder."""
        return hex_of(digest_bytes(self.ledger_key.encode().encode() + self.hub_key.pem()))


@dataclass(frozen=True)
class Verified:
    """A release that holds."""

    release: Release
    organisation: str
    files: int
    size: int
    index: int
    trusted: Trusted


def cut(hub: Coalition, model: str, version: str) -> models_pb2.Release:
    """Sign what the hub proposes for a version of a model, and publish it. The same again answers with what stands.

    Raises what the hub refuses, and `Conflict` for a version that is another model's.
    """
    try:
        standing = hub.release(version)
    except NotFound:
        return _publish(hub, model, version)
    if standing.model != model:
        raise Conflict(f"Release {version} is of {standing.model}.", "Choose another version.")
    return standing


def _publish(hub: Coalition, model: str, version: str) -> models_pb2.Release:
    prepared = hub.prepare_release(model, version)
    files = [FileEntry.read({"path": f.path, "digest": f.digest, "size": f.size}) for f in prepared.files]
    for file in files:
        _signable(file.path)
    _check_proposal(hub, model, files)
    digests = {file.path: Digest(file.digest) for file in files}
    bundle = sign_files(f"{model}-{version}", digests, hub.home.artifact_key(), UNSIGNED)
    release = Release.read(
        {
            "hub": hub.identity.hub,
            "signer": hub.identity.id,
            "version": version,
            "model": model,
            "files": files,
            "bundle": digest_bytes(bundle),
        }
    )
    envelope = hub.sign(release).envelope
    recorded = hub.publish_release(envelope, bundle)
    keep_receipt(hub.home, f"release-{version}", recorded.receipt, envelope)
    return hub.release(version)


def _check_proposal(hub: Coalition, model: str, files: Sequence[FileEntry]) -> None:
    """We sign what the ledger records for the model and what the hub writes about it, nothing else. Raises `Corrupt`."""
    receipt = hub.receipt(model)
    check_receipt(hub.home, receipt)
    envelope = hub.blob(Leaf.decode(receipt.leaf).envelope, MAX_SMALL)
    verify_statement(envelope, hub.home.statement_key())
    claim = statements.read(envelope).claim
    if not isinstance(claim, Model) or claim.model != model:
        raise Corrupt(f"The hub's entry for {model} is about something else.", "Run `coalition ledger verify`.")
    recorded, proposed = ({file.path: file.digest for file in listed} for listed in (claim.files, files))
    written = proposed.keys() - recorded.keys()
    if not written <= WRITTEN or any(proposed.get(path) != digest for path, digest in recorded.items()):
        raise Corrupt(
            f"The hub proposes other files than the ledger records for {model}.", "Do not sign; tell its operator."
        )


def download(hub: Coalition, version: str, folder: Path, advance: Callable[[int], None]) -> models_pb2.Release:
    """Fetch a release with all that proves it. The signature comes last: a folder without it is not whole."""
    release = hub.release(version)
    if (folder / SIGNATURE).exists():
        raise Conflict(f"{folder} holds a release already.", "Choose another directory.")
    for file in release.files:
        _signable(file.path)
        hub.download(file, folder, advance)
    statement = hub.blob(release.envelope, MAX_SMALL)
    check_receipt(hub.home, release.receipt, statement)
    _write(folder / STATEMENT, statement)
    _write(folder / LEAF, release.receipt.leaf)
    _write(folder / PROOF, release.receipt.proof)
    member = hub.blob(_member_envelope(hub, release.member), MAX_SMALL)
    signer = cast(Member, statements.read(member).claim).artifact_key
    _write(folder / KEYS / "ledger.vkey", f"{hub.identity.ledger_key}\n".encode())
    _write(folder / KEYS / "hub.pem", hub.home.statement_key().pem())
    _write(folder / KEYS / "signer.dsse.json", member)
    _write(folder / KEYS / "signer.pem", signer.encode())
    _write(folder / SIGNATURE, hub.blob(release.bundle, MAX_SMALL))
    return release


def verify(folder: Path, home: Home) -> Verified:
    """Check a release folder with no hub running. Raises `Corrupt` or `Denied` with what does not hold."""
    trusted = _trusted(folder, home)
    envelope = _read(folder / STATEMENT)
    claimed = statements.read(envelope)
    if not isinstance(claimed.claim, Release):
        raise Corrupt(f"{folder / STATEMENT} is a {claimed.kind}, not a release.")
    release = claimed.claim
    if release.hub != trusted.ledger_key.name:
        raise Denied(f"The release is of the hub {release.hub}, and the ledger of {trusted.ledger_key.name}.")
    member = _signer(folder, trusted, release)
    key = ArtifactPublicKey.from_pem(member.artifact_key.encode())
    verify_statement(envelope, key)
    index = _check_receipt(folder, trusted, envelope)
    bundle = _read(folder / SIGNATURE)
    if digest_bytes(bundle) != release.bundle:
        raise Corrupt(f"{folder / SIGNATURE} is not the signature that the release statement names.")
    signed = verify_folder(folder, bundle, key, UNSIGNED)
    _check_same(signed.files, release)
    _check_extras(folder)
    size = sum(file.size for file in release.files)
    return Verified(release, member.organisation, len(release.files), size, index, trusted)


def _trusted(folder: Path, home: Home) -> Trusted:
    """Our own pinned keys where we have them; otherwise those that came with the folder, to be compared by people."""
    vkey, pem = _read(folder / KEYS / "ledger.vkey"), _read(folder / KEYS / "hub.pem")
    shipped_log, shipped_hub = LogPublicKey.decode(vkey.decode("utf-8", "replace")), ArtifactPublicKey.from_pem(pem)
    _exact(folder / KEYS / "ledger.vkey", vkey, f"{shipped_log.encode()}\n".encode())
    _exact(folder / KEYS / "hub.pem", pem, shipped_hub.pem())
    if not home.enrolled:
        return Trusted(shipped_log, shipped_hub, pinned=False)
    trusted = Trusted(home.ledger_key(), home.statement_key(), pinned=True)
    if shipped_log.name == trusted.ledger_key.name and (shipped_log, shipped_hub) != (
        trusted.ledger_key,
        trusted.hub_key,
    ):
        raise Denied(f"The keys in {folder / KEYS} are not those of the hub that {home.directory} is enrolled at.")
    if shipped_log.name != trusted.ledger_key.name:
        return Trusted(shipped_log, shipped_hub, pinned=False)
    return trusted


def _signer(folder: Path, trusted: Trusted, release: Release) -> Member:
    """The member that signed, as the hub's own statement introduces it."""
    envelope = _read(folder / KEYS / "signer.dsse.json")
    verify_statement(envelope, trusted.hub_key)
    _exact(folder / KEYS / "signer.dsse.json", envelope, _plain_envelope(envelope, trusted.hub_key))
    member = statements.read(envelope).claim
    if not isinstance(member, Member) or member.signer != HUB:
        raise Corrupt("keys/signer.dsse.json does not introduce a member.")
    if member.member != release.signer or member.role != "core":
        raise Denied(f"The release is signed by {release.signer}, whom keys/signer.dsse.json does not show to be core.")
    if _read(folder / KEYS / "signer.pem") != member.artifact_key.encode():
        raise Corrupt("keys/signer.pem is not the signer's key.")
    return member


def _check_receipt(folder: Path, trusted: Trusted, envelope: bytes) -> int:
    data = _read(folder / LEAF)
    leaf = Leaf.decode(data)
    if leaf.envelope != digest_bytes(envelope) or leaf.payload != payload_digest(envelope):
        raise Corrupt(f"{folder / LEAF} is not the ledger's entry of this release.")
    proof = _read(folder / PROOF)
    verify_receipt(proof, data, trusted.ledger_key)
    receipt = Receipt.decode(proof)
    _exact(folder / PROOF, proof, receipt.encode())
    return receipt.index


def _check_same(signed: Mapping[str, Digest], release: Release) -> None:
    if dict(signed) != {file.path: file.digest for file in release.files}:
        raise Corrupt("The signed folder and the release statement name different files.")


def _check_extras(folder: Path) -> None:
    """The unsigned part holds what we know and nothing else."""
    known = {"ledger.vkey", "hub.pem", "signer.dsse.json", "signer.pem"}
    for path in (folder / KEYS).iterdir():
        if path.name not in known or path.is_symlink() or not path.is_file():
            raise Corrupt(f"{path} was added to the release.")


def _exact(path: Path, data: bytes, expected: bytes) -> None:
    """Files that are read leniently, held to the one form that `download` wrote: no byte may be changed unnoticed."""
    if data != expected:
        raise Corrupt(f"{path} was changed.")


def _plain_envelope(envelope: bytes, key: ArtifactPublicKey) -> bytes:
    """An envelope with one signature and nothing beside it, as the hub writes it."""
    value = parse(envelope, max_bytes=MAX_SMALL)
    signature = {"keyid": key.keyid, "sig": value["signatures"][0]["sig"]}
    return emit({"payload": value["payload"], "payloadType": value["payloadType"], "signatures": [signature]})


def _member_envelope(hub: Coalition, member: str) -> str:
    start = 0
    while entries := hub.entries(start):
        for entry in entries:
            if entry.kind == "member" and entry.id == member:
                return entry.envelope
        start += len(entries)
    raise NotFound(f"The ledger does not introduce the member {member}.")


def _signable(path: str) -> None:
    """Names that stand beside the signed files cannot be among them. Raises `Invalid`."""
    if path.split("/")[0] in UNSIGNED:
        raise Invalid(f"A release may not hold a file called {path}.")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_SMALL:
            raise Corrupt(f"{path} is larger than it can be.")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{path} is missing.", "Download the release again.") from None
