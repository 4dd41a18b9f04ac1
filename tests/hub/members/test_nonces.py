"""A nonce serves one attempt of one invitation, soon."""

from __future__ import annotations

import pytest

from hub.members import nonces
from hub.members.nonces import Nonces
from trust.errors import Denied


def test_a_nonce_serves_once() -> None:
    given = Nonces()
    nonce = given.give("sha256:1")
    given.take("sha256:1", nonce)
    with pytest.raises(Denied, match="not begun here"):
        given.take("sha256:1", nonce)


def test_a_newer_nonce_takes_an_older_ones_place_and_another_invitations_is_none() -> None:
    given = Nonces()
    old, new, other = given.give("sha256:1"), given.give("sha256:1"), given.give("sha256:2")
    with pytest.raises(Denied):
        given.take("sha256:1", old)
    with pytest.raises(Denied):
        given.take("sha256:1", new)  # one wrong try used it up
    with pytest.raises(Denied):
        given.take("sha256:3", other)


def test_a_nonce_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given, clock = Nonces(), [100.0]
    monkeypatch.setattr(nonces.time, "monotonic", lambda: clock[0])
    for later, good in ((nonces.SECONDS, True), (nonces.SECONDS + 1, False)):
        nonce, begun = given.give("sha256:1"), clock[0]
        clock[0] = begun + later
        if good:
            given.take("sha256:1", nonce)
            continue
        with pytest.raises(Denied, match="too old"):
            given.take("sha256:1", nonce)
