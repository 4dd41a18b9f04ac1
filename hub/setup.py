"""Makes a hub: its authority, keys, server certificate and settings."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from hub.settings import FILE, Settings
from trust.certificates import Authority
from trust.errors import Conflict
from trust.files import write_atomic, write_private
from trust.keys import ArtifactKey, LogKey


def create(directory: Path, name: str, *, host: str, bind: str, port: int, **more: object) -> Settings:
    """Make a hub in `directory`; `more` are other settings. Their file comes last: a hub is there whole or not at all.

    Raises `Conflict` where one is already, `Invalid` for a name or port that cannot be used.
    """
    settings = Settings.read(
        {
            "directory": directory.absolute(),
            "name": name,
            "host": host,
            "bind": bind,
            "port": port,
            "enrol_port": port + 1,
            "superlink_port": port + 2,
            **more,
        }
    )
    if (directory / FILE).exists():
        raise Conflict(f"{directory} holds a hub already.", "Serve it, or choose another directory.")
    for folder in (settings.authority_dir, settings.tls_key.parent, settings.log_key.parent):
        shutil.rmtree(folder, ignore_errors=True)  # of an `init` that was cut short
        folder.mkdir(parents=True, mode=0o700)
    authority = Authority.create(name)
    authority.save(settings.authority_dir)
    key, chain = authority.issue_server(list(dict.fromkeys([host, "localhost", "127.0.0.1"])))
    write_private(settings.tls_key, key)
    write_atomic(settings.tls_chain, chain)
    LogKey.generate(name).save(settings.log_key)
    ArtifactKey.generate().save(settings.statement_key)
    write_private(settings.seal_key, secrets.token_bytes(32))
    settings.save()
    return settings
