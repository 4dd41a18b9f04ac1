"""Whom a certificate stands for at this moment, and what is remembered of it."""

from __future__ import annotations

import datetime as dt

import pytest

from hub.callers import Presented
from hub.members.roles import Roles
from protos.documents.base import rfc3339
from protos.documents.members import Delegation, Revocation
from protos.documents.standing import SKEW
from protos.documents.statements import sign
from tests.hub.conftest import ORIGIN, Base
from trust.errors import Denied
from trust.keys import ArtifactKey


def presented(kind: str, name: str) -> Presented:
    return Presented(kind, name, "ab" * 32, dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))  # type: ignore[arg-type]


def revoke(base: Base, member: str) -> None:
    claim = {"hub": ORIGIN, "signer": "core-team", "member": member, "compromised_since": 0, "reason": "theft"}
    base.record(Revocation.read(claim))


def test_what_was_read_before_a_revocation_is_not_remembered_after_it(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocation is recorded while the standing is being read: that call may still pass, the next one does not."""
    roles = Roles(base.database)
    base.journal.listen(roles.heard)
    base.enrol("core-team", "core")
    base.enrol("law-institute")
    look_up = roles._look_up

    def slowly(kind: str, name: str) -> object:
        found = look_up(kind, name)
        revoke(base, name)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(roles, "_look_up", slowly)
        assert roles(presented("member", "law-institute")).id == "law-institute"
    with pytest.raises(Denied, match="was revoked"):
        roles(presented("member", "law-institute"))


def test_a_standing_is_read_once_and_again_when_the_ledger_says_something_about_keys(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = Roles(base.database)
    base.journal.listen(roles.heard)
    base.enrol("law-institute")
    assert roles(presented("member", "law-institute")).role == "contributor"
    with monkeypatch.context() as patch:
        patch.setattr(roles, "_look_up", lambda *_: pytest.fail("it was looked up again"))
        assert roles(presented("member", "law-institute")).role == "contributor"
    base.enrol("core-team", "core")
    revoke(base, "law-institute")
    with pytest.raises(Denied, match="was revoked"):
        roles(presented("member", "law-institute"))


def test_a_delegate_is_nobody_when_its_time_is_over(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its certificate says: with five minutes of grace, as for its statements."""
    base.enrol("law-institute")
    robot, ends = ArtifactKey.generate(), dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    ours = {"hub": ORIGIN, "signer": "law-institute", "name": "robot", "key": robot.public.pem().decode()}
    claim = Delegation.read({**ours, "kinds": ["dataset"], "budget": 1, "expires_at": rfc3339(ends)})
    entry = base.journal.record(sign(claim, base.keys["law-institute"], robot), "law-institute")
    roles, who = Roles(base.database), presented("delegate", entry.id)
    second = dt.timedelta(seconds=1)
    monkeypatch.setattr("hub.members.roles.now", lambda: rfc3339(ends + SKEW - second))
    assert roles(who).kinds == {"dataset"}
    monkeypatch.setattr("hub.members.roles.now", lambda: rfc3339(ends + SKEW + second))
    with pytest.raises(Denied, match="has expired"):
        roles(who)
