"""Where a hub keeps its things and where it listens: `hub.toml` in its directory, the one place that is read."""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from protos.documents.base import Document, Name
from protos.documents.jurisdictions import Country
from protos.documents.licences import LicencePolicy
from protos.transport.channel import split_address
from trust.errors import Conflict, Invalid, NotFound
from trust.files import write_atomic

FILE = "hub.toml"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def _host(text: str) -> str:
    """A name (RFC 1123), or an address. What ends in a number is an address, as browsers have it (WHATWG URL, 3.5)."""
    with suppress(ValueError):
        ip_address(text.strip("[]"))
        return text
    if not _HOST_NAME.fullmatch(text) or text.rpartition(".")[2].isdigit():
        raise ValueError("is neither an address, such as 127.0.0.1, nor a name, such as hub.example.org")
    return text


Host = Annotated[str, StringConstraints(min_length=1, max_length=253), AfterValidator(_host)]
_LAYER = "(namespaces|network|landlock|seccomp|limits|cgroup)"
Demand = Annotated[str, StringConstraints(pattern=rf"^{_LAYER}(\|{_LAYER})*$")]
"""A layer of the sandbox that must stand, or several of which one must; see hub/evaluation/sandbox/layers.py."""
SANDBOX: tuple[Demand, ...] = ("namespaces", "landlock", "network", "seccomp", "limits")
"""All that needs no right of its own on the machine. Fewer only by an operator's word."""


def demanded(layers: str) -> tuple[Demand, ...]:
    """The layers of the sandbox in a list with commas. Raises `Invalid` for one that is not known."""
    return _Demanded.read({"layers": [each.strip() for each in layers.split(",") if each.strip()]}).layers


class _Demanded(Document):
    layers: tuple[Demand, ...]


class ScreeningPolicy(Document):
    """`[screening]` of `hub.toml`: how bad a finding is. Personal data and overlaps warn unless the coalition says otherwise."""

    personal_data: Literal["warning", "reject"] = "warning"
    secrets: Literal["warning", "reject"] = "reject"
    contamination: Literal["warning", "reject"] = "warning"
    tries_per_day: int = Field(default=200, ge=1)


class Listening(Document):
    """What stands in `hub.toml`; `COALITION_DATABASE`, `COALITION_BLOBS` and `COALITION_SANDBOX` override it.

    `blobs` is the URL of an object store; empty for a local directory.
    `sandbox` is what must stand around the evaluation of a suite; `sandbox_memory` is in bytes, 0 for three quarters of all.
    `nodes_evaluate` lets free nodes evaluate by suites that every member may read.
    `certificate_days` is how long a party's certificate holds; parties renew theirs by themselves.
    `country` is where the hub stands: data that may not be everywhere comes to no hub that does not say. The licences are
    patterns, see `LicencePolicy`. `core_may_withdraw` lets the core team withdraw others' submissions.
    Of each member: `quota_bytes` accepted and announced together, `quota_open` submissions under way, `calls_per_second` (ten
    times as many at once). A submission that is not committed is dropped after `draft_days`, with its files.
    `purge_withdrawn` is what becomes of the bytes of a submission that was withdrawn: `purge` deletes what nothing else needs
    `purge_grace_days` after the withdrawal, `keep` keeps them where nobody is served them.
    `lost_after` is how many seconds a node may be away before what it works on counts as interrupted, and
    `wait_for_nodes` how many seconds a run waits for nodes that hold its checkpoint and are away, before it goes on otherwise.
    Everything that is stored is read again every `scrub_days` (0: never), at `scrub_rate` bytes a second.
    """

    name: Name
    host: Host = "127.0.0.1"
    bind: Host = "127.0.0.1"
    port: int = Field(default=9090, ge=1, le=65535)
    enrol_port: int = Field(default=9091, ge=1, le=65535)
    superlink_port: int = Field(default=9092, ge=1, le=65535)
    database: str = ""
    blobs: str = ""
    sandbox: tuple[Demand, ...] = SANDBOX
    sandbox_memory: int = Field(default=0, ge=0)
    nodes_evaluate: bool = True
    certificate_days: float = Field(default=7.0, gt=0, le=90)
    quota_bytes: int = Field(default=1 << 40, gt=0)
    quota_open: int = Field(default=20, ge=1, le=1000)
    calls_per_second: float = Field(default=50.0, gt=0)
    draft_days: float = Field(default=7.0, gt=0)
    lost_after: float = Field(default=15.0, ge=1)
    wait_for_nodes: float = Field(default=60.0, ge=0)
    scrub_days: float = Field(default=7.0, ge=0)
    scrub_rate: int = Field(default=16 << 20, ge=1 << 10)
    screening: ScreeningPolicy = ScreeningPolicy()
    country: Country = ""
    licences_allowed: tuple[str, ...] = LicencePolicy().allowed
    licences_denied: tuple[str, ...] = LicencePolicy().denied
    core_may_withdraw: bool = False
    purge_withdrawn: Literal["keep", "purge"] = "purge"
    purge_grace_days: float = Field(default=7.0, ge=0)


class Settings(Listening):
    """`host` is what clients dial and the server certificate names; `bind` is the interface that is listened on."""

    directory: Path
    reached_at: str = ""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read `hub.toml`. Raises `NotFound` where no hub was made, `Invalid` for a wrong file."""
        path = directory / FILE
        try:
            values = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise NotFound(f"There is no hub in {directory}.", "Make one with `coalition-hub init`.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is not valid TOML: {error}.") from None
        for name in ("database", "blobs"):
            if url := os.environ.get(f"COALITION_{name.upper()}"):
                values[name] = url
        if layers := os.environ.get("COALITION_SANDBOX"):
            values["sandbox"] = demanded(layers)
        try:
            return cls.read({**values, "directory": directory.absolute()})
        except Invalid as problem:
            raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None

    def must_have_served(self) -> None:
        """Raises `NotFound` where there is no ledger to look at."""
        if not self.ledger_dir.is_dir():
            raise NotFound(
                f"There is no ledger in {self.directory}.",
                "Serve the hub once; or take a lost one back: coalition-hub scrub --restore-from MIRROR.",
            )

    def save(self) -> None:
        """Write `hub.toml` for the first time."""
        path = self.directory / FILE
        if path.exists():
            raise Conflict(f"{self.directory} holds a hub already.", "Serve it, or choose another directory.")
        values = self.model_dump(exclude={"directory", "reached_at", "screening"})
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        write_atomic(path, text.encode())

    @property
    def purge_grace(self) -> float | None:
        """Days from a withdrawal to its purge; None where what is withdrawn is kept."""
        return self.purge_grace_days if self.purge_withdrawn == "purge" else None

    @property
    def licences(self) -> LicencePolicy:
        return LicencePolicy(allowed=self.licences_allowed, denied=self.licences_denied)

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.directory / 'database.sqlite'}"

    @property
    def several(self) -> bool:
        """Whether several processes may serve this hub: they elect a leader in PostgreSQL."""
        return self.database.startswith("postgresql")

    def at(self, address: str) -> Self:
        """The settings of a process of this hub that is reached at another `HOST:PORT`; its other ports follow."""
        host, port = split_address(address)
        ports = {"port": port, "enrol_port": port + 1, "superlink_port": port + 2}
        return self.read({**self.model_dump(), **ports, "reached_at": host})

    @property
    def address(self) -> str:
        """Where other processes of this hub reach this one."""
        return f"{self.own_host}:{self.port}"

    @property
    def enrolment_address(self) -> str:
        return f"{self.own_host}:{self.enrol_port}"

    @property
    def own_host(self) -> str:
        """The machine of this process; `host` is the name of the hub as a whole."""
        return self.reached_at or self.host

    @property
    def authority_dir(self) -> Path:
        return self.directory / "ca"

    @property
    def next_authority_dir(self) -> Path:
        return self.directory / "ca-next"

    @property
    def authority_lock(self) -> Path:
        """Held while either is looked at or changed."""
        return self.directory / "authorities.lock"

    @property
    def tls_key(self) -> Path:
        return self.directory / "tls" / "server.key"

    @property
    def tls_chain(self) -> Path:
        return self.directory / "tls" / "server.crt"

    @property
    def log_key(self) -> Path:
        return self.directory / "keys" / "log.key"

    @property
    def statement_key(self) -> Path:
        return self.directory / "keys" / "statement.key"

    @property
    def seal_key(self) -> Path:
        return self.directory / "keys" / "seal.key"

    @property
    def blobs_dir(self) -> Path:
        return self.directory / "blobs"

    @property
    def ledger_dir(self) -> Path:
        return self.directory / "ledger"

    @property
    def scrub_file(self) -> Path:
        """How far the scrub is."""
        return self.directory / "scrub.json"

    @property
    def scrub_dir(self) -> Path:
        """What the scrub needs for a while."""
        return self.directory / "scrubbing"

    @property
    def screening_dir(self) -> Path:
        return self.directory / "screening"

    @property
    def campaigns_dir(self) -> Path:
        return self.directory / "campaigns"

    @property
    def superlink_dir(self) -> Path:
        return self.directory / "superlink"
