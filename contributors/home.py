"""A member's home directory: who we are, our keys, what we know of the hub. `COALITION_HOME`, by default `~/.coalition`."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from protos.documents.base import Document, Identifier, Name, Text
from protos.transport.channel import Credentials
from protos.transport.enrolment import Enrolled
from trust.errors import Conflict, Invalid, NotFound
from trust.files import write_atomic, write_private
from trust.keys import ArtifactKey, ArtifactPublicKey, LogPublicKey, read_secret_file
from trust.notes import TreeHead, verify_tree_head

FILE = "coalition.toml"


class Identity(Document):
    """`coalition.toml`: what enrolment told us. `hub` is also the origin of the hub's ledger."""

    hub: Name
    address: str = Field(max_length=300)
    id: Identifier
    organisation: Text
    role: str
    ledger_key: str


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
            return Identity.read(tomllib.loads(path.read_text()))
        except FileNotFoundError:
            raise NotFound(
                f"{self.directory} is not enrolled.", "Run `coalition enrol` with your invitation."
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is damaged: {error}.") from None

    def artifact_key(self) -> ArtifactKey:
        """The key that our statements are signed with; made on first use, before enrolment."""
        path = self.directory / "keys" / "artifact.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            ArtifactKey.generate().save(path)
        return ArtifactKey.load(path)

    def credentials(self) -> Credentials:
        """For mutual TLS. Raises `NotFound` before enrolment."""
        self.identity()
        tls = self.directory / "tls"
        return Credentials(
            (tls / "ca.crt").read_bytes(), (tls / "client.crt").read_bytes(), read_secret_file(tls / "client.key")
        )

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
        tls = self.directory / "tls"
        write_atomic(tls / "ca.crt", enrolled.credentials.authority)
        write_atomic(tls / "client.crt", enrolled.credentials.certificate)
        write_private(tls / "client.key", enrolled.credentials.key)
        write_atomic(self.directory / "keys" / "hub.pem", enrolled.statement_key)
        identity = Identity.read(
            {
                "hub": enrolled.hub,
                "address": address,
                "id": enrolled.id,
                "organisation": enrolled.organisation,
                "role": enrolled.role,
                "ledger_key": enrolled.ledger_key,
            }
        )
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in identity.model_dump().items()]
        write_atomic(self.directory / FILE, "".join(lines).encode())

    def known_head(self) -> TreeHead | None:
        """The newest tree head that we verified; the ledger must extend it for ever."""
        path = self.directory / "tree-head"
        if not path.exists():
            return None
        key = self.ledger_key()
        return verify_tree_head(path.read_bytes(), key, key.name)

    def remember_head(self, note: bytes) -> None:
        write_atomic(self.directory / "tree-head", note)

    def save_receipt(self, name: str, leaf: bytes, proof: bytes) -> Path:
        """Keep a receipt: the proof, and beside it the leaf that it proves."""
        folder = self.directory / "receipts"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{name}.leaf", leaf)
        write_atomic(folder / f"{name}.tlog-proof", proof)
        return folder / f"{name}.tlog-proof"
