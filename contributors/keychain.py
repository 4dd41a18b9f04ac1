"""A member's keys over the years: replaced, disowned, lent in part. A kill between any two steps leaves a home that goes on."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from pathlib import Path

from contributors.client import Coalition
from contributors.home import Home
from contributors.receipts import keep_receipt
from contributors.site import keys as site_keys
from protos.coalition.v1 import common_pb2
from protos.documents import statements
from protos.documents.base import Claim, Document, Text
from protos.documents.members import Delegation, KeyId, Keys, Revocation
from protos.transport.enrolment import Enrolled
from protos.transport.renewal import accept
from trust.certificates import new_client_request
from trust.errors import Conflict
from trust.files import sync_folder, write_atomic
from trust.keys import ArtifactKey
from trust.presented import read_client_certificate


def rotate(hub: Coalition, *, keep: bool = False) -> str:
    """Replace our key: the new one counts from its entry of the ledger on. The old file is overwritten, or kept aside.

    Said again after a cut it goes on where it was. Answers with the new key's keyid. Raises what the hub refuses.
    """
    home = hub.home
    old, following = home.artifact_key(), home.next_key_path
    if not following.exists():
        ArtifactKey.generate().save(following)
    new = ArtifactKey.load(following)
    known = hub.keys()
    if new.public.keyid not in {key.key_id for key in known.keys if key.valid}:
        claim = Keys.read({**_ours(hub), "version": known.version + 1, "keys": [new.public.pem().decode()]})
        envelope = statements.sign(claim, old, new)
        home.remember_made(envelope)
        recorded = hub.change_keys(envelope)
        keep_receipt(home, recorded.id, recorded.receipt, envelope)
    _swap(home.key_path, following, home.key_path.with_name(f"old-{old.public.keyid[:16]}.key") if keep else None)
    return new.public.keyid


def _swap(present: Path, following: Path, aside: Path | None) -> None:
    """One rename decides which key is the present one; what the old file held does not stay behind."""
    with present.open("r+b") as old:
        if aside is not None and not aside.exists():
            os.link(present, aside)
        os.replace(following, present)
        sync_folder(present.parent)
        if aside is None:
            size = os.fstat(old.fileno()).st_size
            old.write(bytes(size))
            old.flush()
            os.fsync(old.fileno())


class Pending(Document):
    """A theft that is being put right: key and TLS key are to be disowned when their successors are in place."""

    key: KeyId
    tls: KeyId
    since: int
    reason: Text


def revoke(hub: Coalition, key: str, since: int | None, reason: str) -> list[str]:
    """Disown a key of ours, or a delegate's (by its keyid or its delegation), from entry `since` of the ledger on.

    Without a key it is the present one, and with it all that lay beside it: key and TLS key are replaced first; said again
    after a cut, that goes on where it was. Answers with the revocations' identifiers. Raises what the hub refuses.
    """
    since = hub.head().size if since is None else since
    present = hub.home.artifact_key().public.keyid
    named = _keyid(hub, key) if key else present
    if named == present or (not key and _pending_path(hub.home).exists()):
        return _revoke_all(hub, present, since, reason)
    return [_send(hub, Revocation.read({**_ours(hub), **_about(hub, named, since, reason)}))]


def _revoke_all(hub: Coalition, present: str, since: int, reason: str) -> list[str]:
    home, path = hub.home, _pending_path(hub.home)
    if not path.exists():
        pending = Pending(key=present, tls=_tls_keyid(home), since=since, reason=reason)
        write_atomic(path, pending.model_dump_json().encode())
    pending = Pending.read(json.loads(path.read_bytes()))
    if home.artifact_key().public.keyid == pending.key:
        rotate(hub)
    if _tls_keyid(home) == pending.tls:
        hub.renew()
    claims = [_about(hub, keyid, pending.since, pending.reason) for keyid in (pending.key, pending.tls)]
    done = [_send(hub, Revocation.read({**_ours(hub), **claim})) for claim in claims]
    site_keys.discard(home.directory)
    path.unlink()
    sync_folder(path.parent)
    return done


def revoke_member(hub: Coalition, member: str, key: str, since: int | None, reason: str) -> str:
    """As the core team: disown a key of another member, or all of them for an empty `key`."""
    since = hub.head().size if since is None else since
    claim = {**_ours(hub), "member": member, "key": key or None, "compromised_since": since, "reason": reason}
    return _send(hub, Revocation.read(claim))


def delegate(hub: Coalition, directory: Path, name: str, kinds: Sequence[str], budget: int, days: float) -> Home:
    """A home for a robot that speaks in our name within bounds, with keys of its own. Raises `Conflict`, `Invalid`, `Denied`."""
    robot = Home(directory)
    if robot.enrolled:
        raise Conflict(f"{directory} is a home already.", "Choose another directory.")
    key = robot.artifact_key()
    path = directory / "delegation.dsse.json"
    if not path.exists():
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        claim = {
            **_ours(hub),
            "name": name,
            "key": key.public.pem().decode(),
            "kinds": list(kinds),
            "budget": budget,
            "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        envelope = statements.sign(Delegation.read(claim), hub.home.artifact_key(), key)
        hub.home.remember_made(envelope)
        write_atomic(path, envelope)
    tls_key, request = new_client_request(name)
    answer = hub.delegate(path.read_bytes(), request)
    identity = hub.identity
    enrolled = Enrolled(
        id=identity.id,
        hub=identity.hub,
        organisation=identity.organisation,
        role=identity.role,
        ledger_key=identity.ledger_key,
        statement_key=hub.home.statement_key().pem(),
        receipt=answer.recorded.receipt,
        credentials=accept(answer, tls_key, identity.hub, hub.home.statement_key()),
        delegation=answer.recorded.id,
    )
    robot.save_enrolment(enrolled, identity.address)
    keep_receipt(hub.home, answer.recorded.id, answer.recorded.receipt)
    return robot


def _ours(hub: Coalition) -> dict[str, str]:
    return {"hub": hub.identity.hub, "signer": hub.identity.id}


def _about(hub: Coalition, key: str, since: int, reason: str) -> dict[str, object]:
    return {"member": hub.identity.id, "key": key, "compromised_since": since, "reason": reason}


def _keyid(hub: Coalition, named: str) -> str:
    """A keyid from a delegation's identifier or the beginning of a keyid."""
    known = hub.keys()
    keys = [(each.id, each.key.key_id) for each in known.delegations] + [(key.key_id, key.key_id) for key in known.keys]
    found = {
        keyid for identifier, keyid in keys if named == identifier or (len(named) >= 8 and keyid.startswith(named))
    }
    return found.pop() if len(found) == 1 else named


def _send(hub: Coalition, claim: Claim) -> str:
    envelope = hub.sign(claim).envelope
    recorded: common_pb2.Recorded = hub.change_keys(envelope)
    keep_receipt(hub.home, recorded.id, recorded.receipt, envelope)
    return recorded.id


def _tls_keyid(home: Home) -> str:
    return read_client_certificate(home.credentials().certificate).keyid


def _pending_path(home: Home) -> Path:
    return home.directory / "keys" / "revocation.json"
