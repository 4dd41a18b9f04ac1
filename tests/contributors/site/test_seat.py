"""What a site does not do for a hub that plays false with one sum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contributors.site.seat import Seat
from protos.documents.masking import Masks, OneTimeKeys
from tests.hub.rounds.masked import NAMES, SIGNING, Dance, numbers, plain, session
from trust.errors import Denied
from trust.onetime import OneTimeKey

ALL = NAMES[:5]


def masked(who: tuple[str, ...] = ALL) -> Dance:
    """Of five members (three make a threshold); those of `who` sent their masked updates."""
    dance = Dance(5)
    dance.give_keys(ALL)
    dance.share(ALL)
    dance.mask(numbers(who))
    return dance


def _replaced(keys: OneTimeKeys) -> OneTimeKeys:
    return keys.model_copy(update={"mask": OneTimeKey.generate().public.hex()})


def _by_the_hub(keys: OneTimeKeys) -> OneTimeKeys:
    """Keys of the hub's own, signed by a key of its own."""
    hub = SIGNING["zoology"]
    mask, sealing = OneTimeKey.generate().public.hex(), OneTimeKey.generate().public.hex()
    signature = hub.sign(session(5).keys_text(keys.member, mask, sealing)).hex()
    return OneTimeKeys(
        member=keys.member, mask=mask, seal=sealing, site_key=hub.public_pem.decode(), signature=signature
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [(_replaced, "signature does not hold"), (_by_the_hub, "not the one that its member's consent")],
)
def test_the_hub_cannot_put_its_own_keys_in_anybodys_place(
    change: Callable[[OneTimeKeys], OneTimeKeys], reason: str
) -> None:
    dance = Dance(5)
    dance.give_keys(ALL)
    dance.keys["law"] = change(dance.keys["law"])
    with pytest.raises(Denied, match=reason):
        dance.seats["medicine"].shares(tuple(dance.keys.values()))


def test_keys_of_another_attempt_are_no_keys() -> None:
    dance, other = Dance(5), Dance(5, nonce="1" * 64)
    dance.give_keys(ALL)
    other.give_keys(ALL)
    with pytest.raises(Denied, match="signature does not hold"):
        dance.seats["medicine"].shares((*(dance.keys[name] for name in ALL[1:]), other.keys["law"]))


def test_a_group_below_the_threshold_without_us_or_with_a_member_twice_gets_no_shares() -> None:
    for names, reason in (
        (ALL[:2], "Only 2 gave keys, and it takes 3"),
        (ALL[1:], "leaves this site out"),
        ((*ALL, "law"), "or one twice"),
    ):
        dance = Dance(5)
        dance.give_keys(ALL)
        with pytest.raises(Denied, match=reason):
            dance.seats["law"].shares(tuple(dance.keys[name] for name in names))


def test_a_key_that_serves_twice_is_refused() -> None:
    dance = Dance(5)
    dance.give_keys(ALL)
    again = SIGNING["trade"]
    mask = dance.keys["law"].mask
    signature = again.sign(dance.session.keys_text("trade", mask, mask)).hex()
    dance.keys["trade"] = dance.keys["trade"].model_copy(update={"mask": mask, "seal": mask, "signature": signature})
    with pytest.raises(Denied, match="serves twice"):
        dance.seats["medicine"].shares(tuple(dance.keys.values()))


def test_one_list_of_survivors_is_signed_and_kept_before() -> None:
    dance = masked()
    kept: list[tuple[str, ...]] = []
    dance.seats["law"].sign(ALL, kept.append)
    assert kept == [ALL]
    with pytest.raises(Denied, match="over, or not there yet"):
        dance.seats["law"].sign(ALL[:4], kept.append)
    assert kept == [ALL]


def test_no_list_is_signed_without_us_too_short_or_of_strangers() -> None:
    for survivors, reason in (
        (ALL[1:], "leaves this site out"),
        (ALL[:2], "Only 2 are in the sum"),
        ((*ALL[:3], "zoology"), "a stranger"),
    ):
        dance = masked()
        with pytest.raises(Denied, match=reason):
            dance.seats["law"].sign(survivors, lambda names: pytest.fail("was kept"))
        with pytest.raises(Denied, match="over, or not there yet"):
            dance.seats["law"].sign(ALL, lambda names: None)


def test_nothing_is_opened_where_members_were_shown_different_lists() -> None:
    """The hub says to two that all are in the sum, to two that trade is not: neither list has the three it takes."""
    dance = masked()
    signed = (*dance.sign(ALL[:2]), *dance.sign(ALL[2:3] + ALL[4:], tuple(name for name in ALL if name != "trade")))
    for name in ("law", "physics"):
        with pytest.raises(Denied, match=r"signature does not hold|a stranger"):
            dance.seats[name].open(signed)


def test_two_signatures_of_three_that_it_takes_open_nothing_however_often_they_are_given() -> None:
    for twice in (0, 1):
        dance = masked()
        signed = dance.sign(ALL[:2])
        with pytest.raises(Denied, match=r"Only 2 signed the list|or one twice"):
            dance.seats["law"].open(signed + signed[:twice])


def test_of_each_member_one_secret_is_opened_and_never_the_other() -> None:
    """The same member is never opened as one that is there and as one that dropped out."""
    dance = masked(ALL[:4])
    signed = dance.sign(ALL[:4])
    opened = dance.open(ALL[:4], signed)
    for shares in opened.values():
        assert [each.member for each in shares] == list(ALL)
    with pytest.raises(Denied, match="over, or not there yet"):
        dance.seats["law"].open(signed)
    assert np.array_equal(dance.unmask(opened), plain(ALL[:4]))


def test_shares_that_do_not_open_are_left_to_others() -> None:
    dance = Dance(5)
    dance.give_keys(ALL)
    dance.share(ALL)
    for place, box in enumerate(dance.boxes):
        if (box.sender, box.to) == ("law", "trade"):
            dance.boxes[place] = box.model_copy(update={"sealed": "00" * 160})
    dance.mask(numbers(ALL[1:]))
    opened = dance.open(ALL[1:], dance.sign(ALL[1:]))
    assert [each.member for each in opened["trade"]] == list(ALL[1:])
    assert np.array_equal(dance.unmask(opened), plain(ALL[1:]))


def test_a_sum_that_is_too_small_against_those_who_collude_is_not_begun() -> None:
    with pytest.raises(Denied, match="too small"):
        Seat(session(3), Masks(colluding=2), "law", SIGNING["law"])
