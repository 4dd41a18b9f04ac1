"""Releases: cut and signed by a core member, downloaded by anyone, verified offline with the keys alone.

Beside the signed files a release folder holds `model.sig` (Sigstore bundle over them), `release.dsse.json` (the release
statement), `release.tlog-proof` and `release.leaf` (its place in the ledger), and `keys/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contributors.client import Coalition
from contributors.home import Home
from contributors.receipts import check_receipt, keep_receipt
from contributors.signers import key_statements, signing_key, standing_from
from contributors.trusted import Trusted
from protos.coalition.v1 import models_pb2
from protos.documents import statements
from protos.documents.base import FileEntry
from protos.documents.leaf import Leaf
from protos.documents.models import Model, Release
from protos.documents.standing import Standing
from trust.bundles import sign_files, verify_folder
from trust.canonical import emit, parse
from trust.digests import Digest, digest_bytes
from trust.dsse import open_envelope, pae
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
    chain = key_statements(hub, release.member)
    standing = standing_from(chain, hub.home.statement_key())
    signer = signing_key(standing, statement, statements.read(statement).claim)
    _write(folder / KEYS / "ledger.vkey", f"{hub.identity.ledger_key}\n".encode())
    _write(folder / KEYS / "hub.pem", hub.home.statement_key().pem())
    for number, envelope in enumerate(chain):
        _write(folder / KEYS / _chained(number), envelope)
    _write(folder / KEYS / "signer.pem", signer.pem())
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
    standing, key = _signer(folder, trusted, release, envelope)
    index = _check_receipt(folder, trusted, envelope)
    bundle = _read(folder / SIGNATURE)
    if digest_bytes(bundle) != release.bundle:
        raise Corrupt(f"{folder / SIGNATURE} is not the signature that the release statement names.")
    signed = verify_folder(folder, bundle, key, UNSIGNED)
    _check_same(signed.files, release)
    _check_extras(folder)
    size = sum(file.size for file in release.files)
    return Verified(release, standing.organisation, len(release.files), size, index, trusted)


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


def _signer(folder: Path, trusted: Trusted, release: Release, statement: bytes) -> tuple[Standing, ArtifactPublicKey]:
    """The member that signed, as the hub's own statement introduces it, and its key, as its later ones replaced it."""
    paths = _chain(folder)
    chain = [_read(path) for path in paths]
    standing = standing_from(chain, trusted.hub_key)
    keys = (trusted.hub_key, *(key.public for key in standing.keys))
    for path, envelope in zip(paths, chain, strict=True):
        _check_plain(path, envelope, {key.keyid: key for key in keys})
    if standing.member != release.signer or standing.role != "core":
        raise Denied(f"The release is signed by {release.signer}, whom keys/signer.dsse.json does not show to be core.")
    key = signing_key(standing, statement, release)
    if _read(folder / KEYS / "signer.pem") != key.pem():
        raise Corrupt("keys/signer.pem is not the signer's key.")
    return standing, key


def _chain(folder: Path) -> list[Path]:
    paths = [folder / KEYS / _chained(0)]
    while (following := folder / KEYS / _chained(len(paths))).exists():
        paths.append(following)
    return paths


def _chained(number: int) -> str:
    """The signer's introduction, then each statement that changed its keys."""
    return f"signer-{number}.dsse.json" if number else "signer.dsse.json"


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
    known = {"ledger.vkey", "hub.pem", "signer.pem"} | {path.name for path in _chain(folder)}
    for path in (folder / KEYS).iterdir():
        if path.name not in known or path.is_symlink() or not path.is_file():
            raise Corrupt(f"{path} was added to the release.")


def _exact(path: Path, data: bytes, expected: bytes) -> None:
    """Files that are read leniently, held to the one form that `download` wrote: no byte may be changed unnoticed."""
    if data != expected:
        raise Corrupt(f"{path} was changed.")


def _check_plain(path: Path, data: bytes, keys: Mapping[str, ArtifactPublicKey]) -> None:
    """An envelope as its signers write it: canonical, and every signature is of the key that it names. Raises `Corrupt`."""
    _exact(path, data, emit(parse(data, max_bytes=MAX_SMALL)))
    opened = open_envelope(data)
    for signature in opened.signatures:
        if signature.keyid not in keys:
            raise Corrupt(f"{path} was changed.")
        keys[signature.keyid].verify(signature.sig, pae(opened.payload_type, opened.payload))


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
