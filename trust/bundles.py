"""Signed folders: a Sigstore bundle v0.3 over an OpenSSF model-signing statement, as `model_signing verify key` reads it.

Statement and predicate: github.com/sigstore/model-transparency, "Model Signing Format" v1.0. The subject is the SHA-256 over
the files' digests in the order in which they are listed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from trust.canonical import emit, parse
from trust.digests import Digest, digest_file, hex_of, parse_digest
from trust.dsse import PAYLOAD_TYPE, Envelope, envelope_from_json, envelope_json
from trust.errors import Corrupt, Denied, Invalid
from trust.keys import ArtifactKey, ArtifactPublicKey
from trust.statements import STATEMENT_TYPE

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MAX_BUNDLE = 16 << 20
MAX_FILES = 100_000


@dataclass(frozen=True)
class SignedFolder:
    """What a bundle says: the folder's name, its files by path, and the paths beside them that it does not cover."""

    name: str
    files: Mapping[str, Digest]
    ignored: tuple[str, ...]


def folder_files(folder: Path, ignore: Collection[str] = ()) -> dict[str, Digest]:
    """Digest every file below `folder` except the ignored paths. Raises `Corrupt` for a link or a special file."""
    files: dict[str, Digest] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(name == ignored or name.startswith(f"{ignored}/") for ignored in ignore):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Corrupt(f"{path} is a link or a special file; a signed folder holds plain files only.")
        if path.is_file():
            files[name] = digest_file(path)
    return files


def folder_statement(name: str, files: Mapping[str, Digest], ignored: Collection[str] = ()) -> bytes:
    """The in-toto statement (payload bytes) over a folder's files."""
    ordered = sorted(files.items())
    total = sha256(b"".join(bytes.fromhex(hex_of(digest)) for _, digest in ordered)).hexdigest()
    resources = [{"name": path, "algorithm": "sha256", "digest": hex_of(digest)} for path, digest in ordered]
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": sorted(ignored),
    }
    return emit(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": total}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"serialization": serialization, "resources": resources},
        }
    )


def sign_files(name: str, files: Mapping[str, Digest], key: ArtifactKey, ignored: Collection[str] = ()) -> bytes:
    """The bundle (JSON) over files that are known by their digests."""
    envelope = envelope_json(folder_statement(name, files, ignored), key, PAYLOAD_TYPE, keyid="")
    return emit(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": _hint(key.public)}, "tlogEntries": []},
            "dsseEnvelope": envelope,
        }
    )


def sign_folder(folder: Path, key: ArtifactKey, ignored: Collection[str] = ()) -> bytes:
    """The bundle over a folder as it lies on disk."""
    return sign_files(folder.name, folder_files(folder, ignored), key, ignored)


def open_bundle(bundle: bytes, key: ArtifactPublicKey) -> SignedFolder:
    """What `key` signed. Raises `Invalid` for a malformed bundle, `Denied` for a wrong signature."""
    envelope = _envelope(bundle)
    statement = parse(envelope.verify(key), max_bytes=MAX_BUNDLE)
    try:
        if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
            raise Invalid("The bundle's statement is not one of a signed model folder.")
        (subject,) = statement["subject"]
        serialization, resources = statement["predicate"]["serialization"], statement["predicate"]["resources"]
        if serialization["method"] != "files" or any(r["algorithm"] != "sha256" for r in resources):
            raise Invalid("The bundle does not list whole files by their SHA-256.")
        ignored = tuple(str(path) for path in serialization.get("ignore_paths", ()))
        files = {str(r["name"]): parse_digest(f"sha256:{r['digest']}") for r in resources}
        name, total = str(subject["name"]), subject["digest"]["sha256"]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Invalid("The bundle's statement is not one of a signed model folder.") from None
    digests = b"".join(bytes.fromhex(hex_of(digest)) for digest in files.values())  # in the order of the list
    if len(files) != len(resources) or len(files) > MAX_FILES or sha256(digests).hexdigest() != total:
        raise Corrupt("The bundle's subject does not match the files that it lists.")
    return SignedFolder(name, files, ignored)


def verify_folder(folder: Path, bundle: bytes, key: ArtifactPublicKey, ignore: Collection[str] = ()) -> SignedFolder:
    """That a folder holds exactly what `key` signed: nothing changed, missing or added beside the paths in `ignore`.

    `ignore` is the verifier's own list: a bundle that ignores more is refused. Raises `Corrupt`, `Denied`, `Invalid`.
    """
    signed = open_bundle(bundle, key)
    if extra := set(signed.ignored) - set(ignore):
        raise Denied(f"The bundle leaves {min(extra)!r} unsigned, which is not expected.")
    found = folder_files(folder, ignore)
    for path in sorted(signed.files.keys() | found.keys()):
        if path not in found:
            raise Corrupt(f"{path} is missing from {folder}.")
        if path not in signed.files:
            raise Corrupt(f"{path} was added to {folder} and is not signed.")
        if found[path] != signed.files[path]:
            raise Corrupt(f"{path} in {folder} was changed after it was signed.")
    return signed


def _envelope(bundle: bytes) -> Envelope:
    value: Any = parse(bundle, max_bytes=MAX_BUNDLE)
    if not isinstance(value, dict) or value.get("mediaType") != MEDIA_TYPE:
        raise Invalid("The file is not a Sigstore bundle v0.3.")
    return envelope_from_json(value.get("dsseEnvelope"))


def _hint(key: ArtifactPublicKey) -> str:
    """How model_signing names a key: SHA-256 over its PEM text, in hex."""
    return sha256(key.pem()).hexdigest()
