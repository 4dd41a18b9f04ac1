"""Invitations: one line that is noticed when mistyped, and never repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.digests import digest_bytes
from trust.errors import Invalid
from trust.invitations import Invitation, enrolment_challenge

PIN = digest_bytes(b"certificate")


@given(st.integers(1, 65535))
def test_a_token_reads_as_it_was_written(port: int) -> None:
    invitation = Invitation.create(PIN, port)
    assert Invitation.decode(f"  {invitation.encode()}\n") == invitation


@given(st.data())
def test_a_mistyped_token_is_noticed_and_not_repeated(data: st.DataObject) -> None:
    token = Invitation.create(PIN, 9091).encode()
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
    wrong = token[:place] + letter + token[place + 1 :]
    if wrong == token:
        return
    with pytest.raises(Invalid) as caught:
        Invitation.decode(wrong)
    assert wrong[-40:] not in caught.value.diagnostics()


@pytest.mark.parametrize("text", ["", "coalition-", "coalition-aaaa", "hello", "coalition-" + "a" * 500])
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(Invalid):
        Invitation.decode(text)


@pytest.mark.parametrize(("secret", "port"), [(b"short", 9091), (b"x" * 32, 65_536), (b"x" * 32, -1)])
def test_what_does_not_fit_a_token_is_refused(secret: bytes, port: int) -> None:
    with pytest.raises(Invalid):
        Invitation(secret, PIN, port)


def test_the_secret_does_not_show() -> None:
    invitation = Invitation.create(PIN, 9091)
    assert repr(invitation.secret) not in repr(invitation)


def test_a_proof_of_possession_is_for_one_use_hub_attempt_invitation_and_tls_key() -> None:
    challenges = {
        enrolment_challenge("artifact", "europe", b"nonce", PIN, b"csr"),
        enrolment_challenge("tls", "europe", b"nonce", PIN, b"csr"),
        enrolment_challenge("artifact", "asia", b"nonce", PIN, b"csr"),
        enrolment_challenge("artifact", "europe", b"other nonce", PIN, b"csr"),
        enrolment_challenge("artifact", "europe", b"nonce", digest_bytes(b"x"), b"csr"),
        enrolment_challenge("artifact", "europe", b"nonce", PIN, b"other csr"),
    }
    assert len(challenges) == 6
