"""A member's keys over the years: replaced, disowned, lent in part. A kill between any two steps leaves a home that goes on."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from contributors.client import Coalition
from contributors.home import Home
from contributors.receipts import keep_receipt
from contributors.site import keys as site_keys
from protos.coalition.v1 import common_pb2
from protos.documents import statements
from protos.documents.base import Claim, Document, Text, moment
from protos.documents.members import Delegation, KeyId, Keys, NodeRevocation, Revocation
from protos.transport.enrolment import Enrolled
from protos.transport.renewal import accept, prove
from trust.certificates import Party, new_client_request
from trust.errors import Conflict, Denied, Invalid, NotFound
from trust.files import sync_folder, write_atomic
from trust.keys import ArtifactKey
from trust.presented import read_client_certificate

_KEYID = re.compile(r"[0-9a-f]{64}")


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
    """A theft that is being put right: the keys are disowned when the successors of key and TLS key are in place."""

    key: KeyId
    tls: KeyId
    since: int
    reason: Text


def find_key(hub: Coalition, member: str, named: str) -> str:
    """The keyid of a member's key (ours, for no member).

    `named` is a keyid (a TLS key's too, which is listed nowhere), the beginning of one, or a delegation's identifier. Raises
    `NotFound` for what begins none, `Conflict` for what begins several.
    """
    known = hub.keys(member)
    keys = [(each.id, each.key.key_id) for each in known.delegations] + [(key.key_id, key.key_id) for key in known.keys]
    found = {keyid for identifier, keyid in keys if named == identifier or keyid.startswith(named)}
    if len(found) == 1:
        return found.pop()
    if found:
        raise Conflict(f"{len(found)} keys of {known.member} begin with {named}.", "Write more of it.")
    if _KEYID.fullmatch(named):
        return named
    raise NotFound(f"{known.member} has no key {named[:80]!r}.", "See `coalition keys list`.")


def revoke(hub: Coalition, key: str, since: int | None, reason: str) -> list[str]:
    """Disown a key of ours, or a delegate's (as `find_key` takes it), from entry `since` of the ledger on.

    Without a key it is the present one, every other that we held since, and all that lay beside it: key and TLS key are
    replaced first, and alone stay; said again after a cut, that goes on where it was. Answers with the revocations'
    identifiers. Raises what the hub refuses.
    """
    since = hub.head().size if since is None else since
    named = find_key(hub, "", key) if key else ""
    if named in ("", hub.home.artifact_key().public.keyid):
        return _revoke_all(hub, since, reason)
    return [_send(hub, Revocation.read({**_ours(hub), **_about(hub, named, since, reason)}))]


def _revoke_all(hub: Coalition, since: int, reason: str) -> list[str]:
    home, path = hub.home, _pending_path(hub.home)
    if not path.exists():
        present = home.artifact_key().public.keyid
        pending = Pending(key=present, tls=_tls_keyid(home), since=since, reason=reason)
        write_atomic(path, pending.model_dump_json().encode())
    pending = Pending.read(json.loads(path.read_bytes()))
    if home.artifact_key().public.keyid == pending.key:
        rotate(hub)
    if _tls_keyid(home) == pending.tls:
        hub.renew()
    done = []
    for keyid in _held_since(hub, pending):
        if keyid in _held_since(hub, pending):  # else it fell with the one before
            claim = _about(hub, keyid, pending.since, pending.reason)
            done.append(_send(hub, Revocation.read({**_ours(hub), **claim})))
    site_keys.discard(home.directory)
    path.unlink()
    sync_folder(path.parent)
    return done


def _held_since(hub: Coalition, pending: Pending) -> list[str]:
    """The stolen key, and every other of ours that counted at its theft or later, unless disowned from there on already."""
    present = hub.home.artifact_key().public.keyid
    held = [
        key.key_id
        for key in hub.keys().keys
        if key.key_id != present
        and (key.key_id == pending.key or key.until < 0 or key.until > pending.since)
        and not 0 <= key.compromised_since <= pending.since
    ]
    return sorted(held, key=lambda keyid: keyid != pending.key)


def revoke_member(hub: Coalition, member: str, key: str, since: int | None, reason: str) -> list[str]:
    """As the core team: disown a key of another member, or all of them for an empty `key`."""
    since = hub.head().size if since is None else since
    named = find_key(hub, member, key) if key else None
    claim = {**_ours(hub), "member": member, "key": named, "compromised_since": since, "reason": reason}
    return [_send(hub, Revocation.read(claim))]


def revoke_node(hub: Coalition, node: str, reason: str) -> str:
    """As the core team: the node is none any more. Answers with the revocation's identifier. Raises what the hub refuses."""
    return _record(hub, NodeRevocation.read({**_ours(hub), "node": node, "reason": reason}), hub.revoke_node)


def delegate(hub: Coalition, directory: Path, name: str, kinds: Sequence[str], budget: int, days: float) -> Home:
    """A home for a robot that speaks in our name within bounds, with keys of its own. Raises `Conflict`, `Invalid`, `Denied`."""
    robot = Home(directory)
    if robot.enrolled:
        raise Conflict(f"{directory} is a home already.", "Choose another directory.")
    path = directory / "delegation.dsse.json"
    wanted = {"name": name, "kinds": list(kinds), "budget": budget}
    envelope = _begun(path, wanted) or _delegation(hub, robot, path, wanted, days)
    tls_key, request = new_client_request(name)
    proof = prove(robot.artifact_key(), Party(hub.identity.hub, "delegate", statements.read(envelope).id), request)
    try:
        answer = hub.delegate(envelope, request, proof)
    except (Denied, Invalid):
        path.unlink()  # what was refused is not said again
        raise
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


def _begun(path: Path, wanted: dict[str, object]) -> bytes:
    """The delegation that was signed before a cut, if it says what is wanted now and is not over; empty otherwise."""
    if not path.exists():
        return b""
    envelope = path.read_bytes()
    with suppress(Invalid):  # a damaged file is replaced
        claim = statements.read(envelope).claim
        same = isinstance(claim, Delegation) and claim.model_dump(mode="json", include=set(wanted)) == wanted
        if same and moment(cast(Delegation, claim).expires_at) > dt.datetime.now(dt.UTC):
            return envelope
    return b""


def _delegation(hub: Coalition, robot: Home, path: Path, wanted: dict[str, object], days: float) -> bytes:
    """Signed anew, for a new key: one that an earlier delegation was recorded for cannot be lent again."""
    key, expires = ArtifactKey.generate(), dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    robot.key_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key.save(robot.key_path)
    bounds = {"key": key.public.pem().decode(), "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
    claim = Delegation.read({**_ours(hub), **wanted, **bounds})
    envelope = statements.sign(claim, hub.home.artifact_key(), key)
    hub.home.remember_made(envelope)
    write_atomic(path, envelope)
    return envelope


def _ours(hub: Coalition) -> dict[str, str]:
    return {"hub": hub.identity.hub, "signer": hub.identity.id}


def _about(hub: Coalition, key: str, since: int, reason: str) -> dict[str, object]:
    """What this home holds now stays."""
    keeps = [hub.home.artifact_key().public.keyid, _tls_keyid(hub.home)]
    return {"member": hub.identity.id, "key": key, "compromised_since": since, "reason": reason, "keeps": keeps}


def _send(hub: Coalition, claim: Claim) -> str:
    return _record(hub, claim, hub.change_keys)


def _record(hub: Coalition, claim: Claim, call: Callable[[bytes], common_pb2.Recorded]) -> str:
    """Each time anew: what is revoked again after it came back is another revocation."""
    envelope = statements.sign(claim, hub.home.artifact_key())
    hub.home.remember_made(envelope)
    recorded = call(envelope)
    keep_receipt(hub.home, recorded.id, recorded.receipt, envelope)
    return recorded.id


def _tls_keyid(home: Home) -> str:
    return read_client_certificate(home.credentials().certificate).keyid


def _pending_path(home: Home) -> Path:
    return home.directory / "keys" / "revocation.json"
