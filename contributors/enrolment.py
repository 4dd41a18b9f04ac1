"""Joining a coalition: the hub is looked at, then the invitation is spent, then the home is written, whole or not at all."""

from __future__ import annotations

from contextlib import suppress

from contributors.home import Home
from contributors.receipts import keep_receipt
from protos.transport.channel import check_main_listener, split_address
from protos.transport.enrolment import enrol
from trust.errors import Conflict, Problem, Unavailable
from trust.invitations import Invitation


def join(home: Home, address: str, token: str) -> None:
    """Enrol a home at the hub whose main listener is at `address`.

    Raises `Conflict` for a home that is enrolled, `Invalid` for a mistyped token or another port of the hub, `Denied` for another
    hub or a spent invitation, `Unavailable` when nobody answers. A home that was refused is left as it was.
    """
    host, _ = split_address(address)
    invitation = Invitation.decode(token)
    if home.enrolled:
        raise Conflict(f"{home.directory} is enrolled already.", "Set COALITION_HOME to another directory.")
    check_main_listener(address, invitation.ca_fingerprint)
    had_key = home.key_path.exists()
    try:
        enrolled = enrol(host, invitation, "member", home.artifact_key())
    except Unavailable:  # the answer may have been lost on its way: this key, and no other, may ask again
        raise
    except Problem:
        if not had_key:
            _forget_key(home)
        raise
    home.save_enrolment(enrolled, address)
    if enrolled.receipt.proof:
        keep_receipt(home, enrolled.id, enrolled.receipt)


def _forget_key(home: Home) -> None:
    """Of a newcomer that the hub refused: nothing was ever signed with it but for this."""
    home.key_path.unlink()
    with suppress(OSError):  # of a directory that holds something else
        home.key_path.parent.rmdir()
        home.directory.rmdir()
