"""A member's home directory: who we are, our keys, what we know of the hub. `COALITION_HOME`, by default `~/.coalition`."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from protos.documents import statements
from protos.documents.base import Claim, Document, Identifier, Name, Text, now
from protos.transport.channel import Credentials, split_address
from protos.transport.enrolment import Enrolled, enrol
from protos.transport.keeping import read_credentials, write_credentials
from protos.transport.renewal import has_expired, is_due, renew
from trust.canonical import emit
from trust.certificates import SKEW
from trust.digests import digest_bytes, hex_of
from trust.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from trust.files import write_atomic
from trust.invitations import Invitation
from trust.keys import ArtifactKey, ArtifactPublicKey, LogPublicKey, WitnessPublicKey
from trust.merkle import leaf_hash
from trust.notes import TreeHead, verify_tree_head
from trust.presented import read_client_certificate
from trust.statements import payload_digest

FILE = "coalition.toml"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}")


class Identity(Document):
    """`coalition.toml`: what enrolment told us. `hub` is also the origin of the hub's ledger."""

    hub: Name
    address: str = Field(max_length=300)
    id: Identifier
    organisation: Text
    role: str
    ledger_key: str
    delegation: Identifier | None = None


@dataclass(frozen=True)
class Home:
    """The directory and what lies in it."""

    directory: Path

    @classmethod
    def default(cls) -> Home:
        return cls(Path(os.environ.get("COALITION_HOME") or Path.home() / ".coalition").absolute())

    @property
    def enrolled(self) -> bool:
        return (self.directory / FILE).exists()

    def identity(self) -> Identity:
        """Raises `NotFound` before enrolment."""
        path = self.directory / FILE
        try:
            return Identity.read(tomllib.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            raise NotFound(
                f"{self.directory} is not enrolled.", "Run `coalition enrol` with your invitation."
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is damaged: {error}.") from None
        except Invalid as problem:
            raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None

    @property
    def key_path(self) -> Path:
        return self.directory / "keys" / "artifact.key"

    @property
    def next_key_path(self) -> Path:
        """The key that is about to replace the present one; it lies here only while that is under way."""
        return self.directory / "keys" / "next.key"

    def artifact_key(self) -> ArtifactKey:
        """The key that our statements are signed with; made on first use, before enrolment."""
        path = self.key_path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            ArtifactKey.generate().save(path)
        return ArtifactKey.load(path)

    def credentials(self) -> Credentials:
        """For mutual TLS. Raises `NotFound` before enrolment."""
        self.identity()
        return read_credentials(self.directory / "tls")

    def fresh_credentials(self) -> Credentials:
        """For mutual TLS, renewed if it is time. A hub that is away, or refuses, is met with what is there.

        Raises `Unavailable` when they have run out: TLS would only say that nobody answers.
        """
        credentials = self.credentials()
        self._check_life(credentials)
        if not is_due(credentials):
            return credentials
        with suppress(Unavailable, Denied):
            return self.renew()
        return credentials

    def renew(self) -> Credentials:
        """A new certificate for a new TLS key, kept in the place of the old one.

        Raises as `protos.transport.renewal.renew` and `fresh_credentials`.
        """
        credentials = self.credentials()
        self._check_life(credentials)
        renewed = renew(self.identity().address, credentials, self.statement_key(), self.artifact_key())
        self.save_credentials(renewed)
        return renewed

    def _check_life(self, credentials: Credentials) -> None:
        begins = read_client_certificate(credentials.certificate).issued
        if dt.datetime.now(dt.UTC) < begins - SKEW:
            raise Unavailable(
                f"Your certificate holds from {begins:%Y-%m-%d %H:%M} UTC; it is {now()} here.",
                "Set this machine's clock.",
            )
        if has_expired(credentials):
            ended = read_client_certificate(credentials.certificate).expires
            todo = "Ask the operator for an invitation, then run `coalition keys renew --token TOKEN`."
            if self.identity().delegation:
                todo = "Ask the member to delegate again, to another directory."
            raise Unavailable(f"Your certificate expired at {ended:%Y-%m-%d %H:%M} UTC; it is {now()} here.", todo)

    def renew_by(self, token: str) -> Credentials:
        """As `renew`, after the certificate ran out: by another invitation and the artifact key."""
        identity = self.identity()
        host, _ = split_address(identity.address.split(",")[0])
        enrolled = enrol(host, Invitation.decode(token), "member", self.artifact_key())
        if (enrolled.hub, enrolled.id) != (identity.hub, identity.id):
            raise Conflict(f"The invitation is for {enrolled.id} of {enrolled.hub}.", "Use another home for it.")
        self.save_credentials(enrolled.credentials)
        return enrolled.credentials

    def save_credentials(self, credentials: Credentials) -> None:
        """Put a renewed certificate in the place of the old one, whole or not at all."""
        write_credentials(self.directory / "tls", credentials)

    def ledger_key(self) -> LogPublicKey:
        return LogPublicKey.decode(self.identity().ledger_key)

    def statement_key(self) -> ArtifactPublicKey:
        """The key that the hub's own statements verify with, pinned at enrolment."""
        return ArtifactPublicKey.from_pem((self.directory / "keys" / "hub.pem").read_bytes())

    def save_enrolment(self, enrolled: Enrolled, address: str) -> None:
        """Keep what enrolment gave; the identity comes last, so that a home is enrolled whole or not at all."""
        if self.enrolled:
            raise Conflict(f"{self.directory} is enrolled already.", "Use another home: --home or COALITION_HOME.")
        for folder in ("tls", "keys", "receipts"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.save_credentials(enrolled.credentials)
        write_atomic(self.directory / "keys" / "hub.pem", enrolled.statement_key)
        identity = Identity.read(
            {
                "hub": enrolled.hub,
                "address": address,
                "id": enrolled.id,
                "organisation": enrolled.organisation,
                "role": enrolled.role,
                "ledger_key": enrolled.ledger_key,
                "delegation": enrolled.delegation or None,
            }
        )
        lines = [f"{key} = {_toml(value)}\n" for key, value in identity.model_dump(exclude_none=True).items()]
        write_atomic(self.directory / FILE, "".join(lines).encode())

    def statement(self, claim: Claim) -> bytes:
        """Our signed statement (DSSE envelope). Saying the same again gives the same bytes, whatever the time: a command that
        is repeated, after a cut or by mistake, has no second effect. The envelope is kept before anybody sees it.
        """
        claim = claim.model_copy(update={"delegation": self.identity().delegation}) if self.enrolled else claim
        path, key = self._statement_path(claim), self.artifact_key()
        envelope = b""
        if path.exists():
            with suppress(Invalid):  # a damaged file is replaced
                kept = path.read_bytes()
                if _content(statements.read(kept).claim) == _content(claim):
                    envelope = statements.resign(kept, key)
                    if envelope == kept:
                        return kept
        envelope = envelope or statements.sign(claim, key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, envelope)
        self.remember_made(envelope)
        return envelope

    def remember_made(self, envelope: bytes) -> None:
        """What we signed, by its payload's digest: an entry in our name that is none of these, somebody else made."""
        with (self.directory / "made").open("a") as file:
            file.write(f"{payload_digest(envelope)}\n")

    def made(self) -> frozenset[str]:
        """The payload digests of every statement of ours."""
        path = self.directory / "made"
        return frozenset(path.read_text().split()) if path.exists() else frozenset()

    def has_statement(self, claim: Claim) -> bool:
        """Whether we said the same before."""
        return self._statement_path(claim).exists()

    def forget_statement(self, claim: Claim) -> None:
        """Let the same be said anew, as a statement of its own."""
        self._statement_path(claim).unlink(missing_ok=True)

    def _statement_path(self, claim: Claim) -> Path:
        name = hex_of(digest_bytes(emit(_content(claim))))[:32]
        return self.directory / "statements" / f"{name}.dsse.json"

    def known_head(self) -> TreeHead | None:
        """The newest tree head that we verified; the ledger must extend it for ever."""
        path = self.directory / "tree-head"
        if not path.exists():
            return None
        key = self.ledger_key()
        return verify_tree_head(path.read_bytes(), key, key.name)

    def remember_head(self, note: bytes) -> None:
        write_atomic(self.directory / "tree-head", note)

    def known_note(self) -> bytes:
        """The newest tree head that we verified, as it was signed; empty before the first."""
        path = self.directory / "tree-head"
        return path.read_bytes() if path.exists() else b""

    def remember_leaves(self, leaves: Sequence[bytes]) -> None:
        """The hash of every entry that we verified, to name the one that somebody changes later. 32 bytes each."""
        write_atomic(self.directory / "ledger.hashes", b"".join(map(leaf_hash, leaves)))

    def known_leaves(self) -> bytes:
        path = self.directory / "ledger.hashes"
        return path.read_bytes() if path.exists() else b""

    def witnesses(self) -> list[WitnessPublicKey]:
        """The keys of the members' witnesses, as we last heard of them."""
        path = self.directory / "witnesses"
        return [WitnessPublicKey.decode(line) for line in path.read_text().split()] if path.exists() else []

    def remember_witnesses(self, vkeys: Iterable[str]) -> None:
        """Earlier keys stay known: receipts of their time are verified with them."""
        known = {key.encode() for key in self.witnesses()} | {WitnessPublicKey.decode(vkey).encode() for vkey in vkeys}
        write_atomic(self.directory / "witnesses", "".join(f"{vkey}\n" for vkey in sorted(known)).encode())

    def receipt_path(self, name: str) -> Path:
        """Where the receipt of that name is kept. Raises `Invalid` for a name that is no file's."""
        if not _FILE_NAME.fullmatch(name):
            raise Invalid(f"{name[:80]!r} cannot name a receipt.")
        return self.directory / "receipts" / f"{name}.tlog-proof"

    def save_receipt(self, name: str, leaf: bytes, proof: bytes) -> Path:
        """Keep a receipt: the proof, and beside it the leaf that it proves. Raises as `receipt_path`."""
        path = self.receipt_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path.with_name(f"{name}.leaf"), leaf)
        write_atomic(path, proof)
        return path


def _content(claim: Claim) -> dict[str, Any]:
    """What a claim says, without when."""
    return {"kind": type(claim).__name__, **claim.model_dump(mode="json", exclude={"issued_at"})}


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes, and one more for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
