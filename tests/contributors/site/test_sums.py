"""What a site remembers of the sums that it signed, over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from contributors.site.sums import check_another, note_signed, read_sums
from protos.documents.masking import Session
from tests.hub.rounds.masked import NAMES, session
from trust.errors import Corrupt, Denied


def of_round(number: int, count: int = 3) -> Session:
    return session(count).model_copy(update={"round": number})


def test_a_round_has_one_list_whatever_the_attempt(tmp_path: Path) -> None:
    note_signed(tmp_path, of_round(2), NAMES[:3])
    note_signed(tmp_path, session(3, nonce="1" * 64).model_copy(update={"round": 2}), NAMES[:3])
    with pytest.raises(Denied, match="another list of those in the sum of round 2"):
        note_signed(tmp_path, of_round(2), NAMES[:2])
    known = read_sums(tmp_path).of("campaign-a")
    assert known is not None
    assert (known.round, known.survivors) == (2, NAMES[:3])


def test_another_sum_of_the_round_is_of_the_same_members_and_none_is_of_a_round_before(tmp_path: Path) -> None:
    note_signed(tmp_path, of_round(2, 4), NAMES[:3])
    known = read_sums(tmp_path).of("campaign-a")
    check_another(known, of_round(2, 3))
    check_another(known, of_round(3, 4))
    check_another(read_sums(tmp_path).of("campaign-b"), of_round(1))
    with pytest.raises(Denied, match="another one would tell the difference"):
        check_another(known, of_round(2, 4))
    with pytest.raises(Denied, match="in none of a round before"):
        check_another(known, of_round(1, 3))


def test_a_later_round_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    note_signed(tmp_path, of_round(1), NAMES[:3])
    note_signed(tmp_path, of_round(2), NAMES[:2])
    assert [each.round for each in read_sums(tmp_path).campaigns] == [2]


def test_a_record_that_cannot_be_read_stops_the_site_from_signing(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sums.json").write_text("{")
    with pytest.raises(Corrupt, match="cannot be read"):
        note_signed(tmp_path, of_round(1), NAMES[:3])
