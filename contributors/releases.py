"""Releases: cut and signed by a core member, downloaded by anyone, verified offline with the keys alone.

Beside the signed files a release folder holds `model.sig` (Sigstore bundle over them), `release.dsse.json` (the release
statement), `release.leaf` and `release.tlog-proof` (its place in the ledger), and `keys/`: the hub's, the signer's, and in the
same three files each what the ledger said of the signer's keys when the release was downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contributors.client import Coalition
from contributors.home import Home
from contributors.receipts import check_receipt, keep_receipt
from contributors.signers import Proven, Signers, proven, signing_key, standing_of
from contributors.trusted import Trusted
from protos.coalition.v1 import models_pb2
from protos.documents import statements
from protos.documents.base import FileEntry
from protos.documents.leaf import Leaf
from protos.documents.models import Model, Release
from protos.documents.standing import Standing
from trust.bundles import sign_files, verify_folder
from trust.digests import Digest, digest_bytes
from trust.errors import Conflict, Corrupt, Denied, Invalid, NotFound
from trust.files import write_atomic
from trust.keys import ArtifactPublicKey, LogPublicKey
from trust.receipts import Receipt
from trust.statements import verify_statement

SIGNATURE = "model.sig"
STATEMENT, LEAF, PROOF = ".dsse.json", ".leaf", ".tlog-proof"  # the endings of what proves one statement
RELEASE = "release"
KEYS = "keys"
UNSIGNED = (SIGNATURE, *(f"{RELEASE}{ending}" for ending in (STATEMENT, LEAF, PROOF)), KEYS)
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
    """Fetch a release with all that proves it. The signature comes last: a folder without it is not whole.

    Raises `Denied` for a release whose signer might not sign it, or whose key was revoked from before its entry on.
    """
    release = hub.release(version)
    if (folder / SIGNATURE).exists():
        raise Conflict(f"{folder} holds a release already.", "Choose another directory.")
    said = proven(hub, str(Receipt.decode(release.receipt.proof).index))
    if said.claimed.id != version:
        raise Corrupt(f"The hub gave another statement for release {version}.")
    chain = Signers(hub).chain(said)
    standing = standing_of(said, chain, hub.home.statement_key())
    signer = signing_key(standing, said.envelope, said.claimed.claim)
    for file in release.files:
        _signable(file.path)
        hub.download(file, folder, advance)
    keep(folder, said, chain)
    _write(folder / KEYS / "ledger.vkey", f"{hub.identity.ledger_key}\n".encode())
    _write(folder / KEYS / "hub.pem", hub.home.statement_key().pem())
    _write(folder / KEYS / "signer.pem", signer.pem())
    _write(folder / SIGNATURE, hub.blob(release.bundle, MAX_SMALL))
    return release


def keep(folder: Path, said: Proven, chain: Iterable[Proven]) -> None:
    """Write what proves a release into its folder: its statement, and what is known of its signer's keys."""
    named = {folder / RELEASE: said, **{folder / KEYS / _chained(n): each for n, each in enumerate(chain)}}
    for path, each in named.items():
        _write(_with(path, STATEMENT), each.envelope)
        _write(_with(path, LEAF), each.leaf)
        _write(_with(path, PROOF), each.proof)


def verify(folder: Path, home: Home) -> Verified:
    """Check a release folder with no hub running. Raises `Corrupt` or `Denied` with what does not hold.

    Keys count as the folder knows. That no key was disowned it cannot prove: a later revocation it lacks, and one that
    somebody took out of it is not missed. `ask` tells.
    """
    trusted = _trusted(folder, home)
    said = _proven(folder / RELEASE, trusted)
    release = said.claimed.claim
    if not isinstance(release, Release):
        raise Corrupt(f"{_with(folder / RELEASE, STATEMENT)} is a {said.claimed.kind}, not a release.")
    standing, key = _signer(folder, trusted, said)
    bundle = _read(folder / SIGNATURE)
    if digest_bytes(bundle) != release.bundle:
        raise Corrupt(f"{folder / SIGNATURE} is not the signature that the release statement names.")
    signed = verify_folder(folder, bundle, key, UNSIGNED)
    _check_same(signed.files, release)
    _check_extras(folder)
    size = sum(file.size for file in release.files)
    return Verified(release, standing.organisation, len(release.files), size, said.index, trusted)


def ask(hub: Coalition, folder: Path) -> None:
    """What a folder alone cannot prove: that nothing in the ledger, as the hub's newest head has it, disowns the signer's key.

    Raises `Denied` where something does, and as `Signers.chain`.
    """
    home = hub.home
    said = _proven(folder / RELEASE, Trusted(home.ledger_key(), home.statement_key(), pinned=True))
    standing_of(said, Signers(hub).chain(said), home.statement_key())


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


def _signer(folder: Path, trusted: Trusted, said: Proven) -> tuple[Standing, ArtifactPublicKey]:
    """The member that signed, as the hub introduces it and the ledger's later statements have it, and the key it signed with."""
    chain = [_proven(path, trusted) for path in _chain(folder)]
    standing = standing_of(said, chain, trusted.hub_key)
    key = signing_key(standing, said.envelope, said.claimed.claim)
    if _read(folder / KEYS / "signer.pem") != key.pem():
        raise Corrupt("keys/signer.pem is not the signer's key.")
    return standing, key


def _chain(folder: Path) -> list[Path]:
    paths = [folder / KEYS / _chained(0)]
    while _with(following := folder / KEYS / _chained(len(paths)), STATEMENT).exists():
        paths.append(following)
    return paths


def _chained(number: int) -> str:
    """What the ledger says of the signer's keys, in its order."""
    return f"signer-{number}" if number else "signer"


def _with(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}{ending}")


def _proven(path: Path, trusted: Trusted) -> Proven:
    """The three files of one statement, checked, and each byte of them as `download` wrote it."""
    found = Proven(*(_read(_with(path, ending)) for ending in (STATEMENT, LEAF, PROOF)))
    found.check(trusted.ledger_key)
    _exact(_with(path, PROOF), found.proof, Receipt.decode(found.proof).encode())
    return found


def _check_same(signed: Mapping[str, Digest], release: Release) -> None:
    if dict(signed) != {file.path: file.digest for file in release.files}:
        raise Corrupt("The signed folder and the release statement name different files.")


def _check_extras(folder: Path) -> None:
    """The unsigned part holds what we know and nothing else."""
    known = {"ledger.vkey", "hub.pem", "signer.pem"}
    known |= {f"{path.name}{ending}" for path in _chain(folder) for ending in (STATEMENT, LEAF, PROOF)}
    for path in (folder / KEYS).iterdir():
        if path.name not in known or path.is_symlink() or not path.is_file():
            raise Corrupt(f"{path} was added to the release.")


def _exact(path: Path, data: bytes, expected: bytes) -> None:
    """Files that are read leniently, held to the one form that `download` wrote: no byte may be changed unnoticed."""
    if data != expected:
        raise Corrupt(f"{path} was changed.")


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
