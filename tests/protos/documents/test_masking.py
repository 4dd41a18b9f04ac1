"""What a campaign under masks may not be combined with, and what a sum is bound to."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.campaigns import CampaignSpec
from protos.documents.masking import Masks, Seat, Session
from trust.digests import digest_bytes
from trust.errors import Invalid

LOCAL = {"guarantee": "local", "clip": 0.5, "noise": 1, "delta": 1e-6, "maximum_epsilon": 30}


def _spec(**more: Any) -> CampaignSpec:
    training = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 2, "minimum_members": 7, "training": training}
    return CampaignSpec.read(given | {"masks": {}, "clip_norm": 1.0} | more)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"averaging": "median"}, "median looks at each"),
        ({"averaging": "trimmed-mean"}, "trimmed-mean looks at each"),
        ({"averaging": "krum"}, "krum looks at each"),
        ({"averaging": "products"}, "products looks at each"),
        ({"weighting": "examples"}, "weigh the same"),
        ({"maximum_share": 0.5}, "weigh the same"),
        ({"quality": {"dataset": "data-0123456789ab"}}, "is measured on single updates"),
        ({"transfer": {"how": "int8"}}, "int8 does not add up"),
        ({"clip_norm": None}, "give clip_norm"),
        ({"clip_norm": None, "privacy": LOCAL | {"guarantee": "central"}}, "is made for updates that it sees"),
        ({"minimum_members": 3}, "colluding = 0 needs 3"),
        ({"minimum_members": 2, "masks": {"colluding": 0}}, "need minimum_members of 3"),
    ],
)
def test_what_contradicts_masks_is_refused_in_a_sentence(more: dict[str, Any], why: str) -> None:
    assert _spec().masks
    with pytest.raises(Invalid, match=why):
        _spec(**more)


def test_noise_of_the_sites_goes_with_masks() -> None:
    spec = _spec(clip_norm=None, privacy=LOCAL)
    assert spec.withholds
    assert spec.largest_value == 0.5 * 9


def test_two_groups_that_open_have_an_honest_member_in_common() -> None:
    for colluding in range(5):
        masks = Masks(colluding=colluding)
        for seats in range(masks.least_members - 1, 30):
            threshold = masks.threshold(seats)
            assert threshold <= seats
            assert 2 * threshold - seats > colluding
            assert threshold - colluding >= 2, "the sum is of two honest members at least"


def test_a_session_is_of_different_members_and_what_is_signed_is_of_one_session() -> None:
    seats = [Seat(member=name, site_key=digest_bytes(name.encode())) for name in ("law", "medicine", "trade")]
    given = {"campaign": "campaign-a", "round": 1, "task": digest_bytes(b"t"), "nonce": "0" * 64, "seats": seats}
    session = Session.read(given)
    for change in ({"nonce": "1" * 64}, {"seats": seats[:2]}, {"round": 2}, {"task": digest_bytes(b"u")}):
        other = Session.read(given | change)
        assert other.id != session.id
        assert other.keys_text("law", "a", "b") != session.keys_text("law", "a", "b")
    for wrong in ([seats[0], seats[0]], seats[::-1], [seats[0], Seat(member="zoo", site_key=seats[0].site_key)]):
        with pytest.raises(Invalid, match="different members"):
            Session.read(given | {"seats": wrong})
