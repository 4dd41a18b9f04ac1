"""The hub's certificate authority and its successor: read anew whenever the files change, so that one follows the other live.

`ca` holds the authority that the listeners' certificate comes from. While `ca-next` is there, both are trusted, and every
new certificate of a party comes from the next one; when all parties have renewed, `retire` puts it in the first's place.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc

from hub.settings import Settings
from trust.certificates import Authority, fingerprint, issued_at, server_hosts
from trust.errors import Conflict, NotFound, Problem
from trust.files import sync_folder, write_atomic
from trust.presented import authority_id


class Authorities:
    """What the hub's listeners show and believe at this moment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._watched = [str(folder / "ca.crt") for folder in (settings.authority_dir, settings.next_authority_dir)]
        self._seen: tuple[object, ...] = ()
        self._load()

    @property
    def issuing(self) -> Authority:
        """Certificates for parties come from it."""
        self._refresh()
        return self._next or self._current

    @property
    def roots(self) -> bytes:
        """Every authority that is trusted, PEM."""
        self._refresh()
        return self._current.cert_pem + (self._next.cert_pem if self._next else b"")

    @property
    def issuers(self) -> frozenset[str]:
        """The key identifiers of the authorities whose certificates are believed: an open connection may show an older one's."""
        self._refresh()
        return self._issuers

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """For a listener; new connections follow the files, without a restart."""
        shown = [self._configuration(mutual)]

        def fetch() -> Any:
            configuration = self._configuration(mutual)
            if configuration[0] == shown[0][0]:
                return None  # go on with the present one
            shown[0] = configuration
            return configuration[1]

        return grpc.dynamic_ssl_server_credentials(shown[0][1], fetch, mutual)

    def _configuration(self, mutual: bool) -> tuple[tuple[bytes, bytes], Any]:
        chain, roots = self._settings.tls_chain.read_bytes(), self.roots
        pair = (self._settings.tls_key.read_bytes(), chain)
        return (chain, roots), grpc.ssl_server_certificate_configuration([pair], roots if mutual else None)

    def _refresh(self) -> None:
        if self._stamp() == self._seen:
            return
        with suppress(Problem, OSError):  # while a rotation is under way, what was read before still holds
            self._load()

    def _load(self) -> None:
        with _alone(self._settings):
            _settle(self._settings)
            stamp = self._stamp()
            following = self._settings.next_authority_dir
            current = Authority.load(self._settings.authority_dir)
            self._next = Authority.load(following) if following.exists() else None
        self._current, self._seen = current, stamp
        self._issuers = frozenset(authority_id(each.cert_pem) for each in (current, self._next) if each)

    def _stamp(self) -> tuple[object, ...]:
        """Asked for at every message."""
        return tuple(_inode(path) for path in self._watched)


def rotate(settings: Settings) -> Authority:
    """Make the next authority. Raises `Conflict` while one waits already."""
    with _alone(settings):
        _settle(settings)
        following = settings.next_authority_dir
        if following.exists():
            raise Conflict("The next authority is made already.", "Retire the old one when its time has come.")
        made = following.with_name(f".{following.name}.tmp")
        shutil.rmtree(made, ignore_errors=True)  # of a rotation that was cut short
        made.mkdir(mode=0o700)
        authority = Authority.create(settings.name)
        authority.save(made)
        os.rename(made, following)
        sync_folder(following.parent)
        return authority


def retire(settings: Settings, *, at_once: bool = False) -> Authority:
    """Let the next authority take the place of the present one, whose key is destroyed.

    Raises `NotFound` without a next one, `Conflict` before every certificate of the old one has run out: until then a party
    may not have heard of the new one. `at_once` does it all the same.
    """
    with _alone(settings):
        _settle(settings)
        following = settings.next_authority_dir
        if not following.exists():
            raise NotFound("There is no next authority.", "Make it with `coalition-hub authority rotate`.")
        ripe = issued_at((following / "ca.crt").read_bytes()) + dt.timedelta(days=settings.certificate_days)
        if not at_once and dt.datetime.now(dt.UTC) < ripe:
            raise Conflict(
                f"Parties learn the next authority until {ripe:%Y-%m-%d %H:%M} UTC.", "Wait, or give --at-once."
            )
        os.rename(settings.authority_dir, _retired(settings))
        _settle(settings)
        return Authority.load(settings.authority_dir)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One process or thread at a time looks at the authorities' folders or changes them: a hub that runs, and a command."""
    with settings.authority_lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # goes with the file
        yield


def _settle(settings: Settings) -> None:
    """Finish a retirement that was cut short anywhere after its first step."""
    folder, following = settings.authority_dir, settings.next_authority_dir
    if not folder.exists() and following.exists():
        os.rename(following, folder)
        sync_folder(folder.parent)
    if _retired(settings).exists() and folder.exists():
        _renew_server(settings)
        shutil.rmtree(_retired(settings))


def _renew_server(settings: Settings) -> None:
    """The listeners' certificate from the present authority, for the key and hosts it was for."""
    authority, chain = Authority.load(settings.authority_dir), settings.tls_chain.read_bytes()
    if not chain.endswith(authority.cert_pem):
        key = settings.tls_key.read_bytes()
        write_atomic(settings.tls_chain, authority.issue_server_chain(server_hosts(chain), key))


def _retired(settings: Settings) -> Path:
    return settings.authority_dir.with_name("ca-retired")


def _inode(path: str) -> object:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def status(settings: Settings) -> dict[str, str]:
    """Fingerprints of the authorities and when they were made; for people and programs."""
    found: dict[str, str] = {}
    for name, folder in (("present", settings.authority_dir), ("next", settings.next_authority_dir)):
        if folder.exists():
            pem = (folder / "ca.crt").read_bytes()
            found[name] = fingerprint(pem)
            found[f"{name}_since"] = issued_at(pem).isoformat()
    return found
