"""Where data may be: countries of ISO 3166-1 (alpha-2), two regions of them, and `world`, which leaves no place out."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_CODES.split())
_MEMBER_STATES = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
_UNION = frozenset(_MEMBER_STATES.split())
REGIONS = {"EU": _UNION, "EEA": _UNION | {"IS", "LI", "NO"}}
WORLD = "world"


def _known_country(code: str) -> str:
    if code and code not in COUNTRIES:
        raise ValueError(f"{code[:20]!r} is no country code of ISO 3166-1, such as NL")
    return code


def _known_jurisdiction(code: str) -> str:
    if code != WORLD and code not in REGIONS and code not in COUNTRIES:
        raise ValueError(f"{code[:20]!r} is no country code of ISO 3166-1, such as NL, nor EU, EEA or {WORLD}")
    return code


def _distinct(codes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(codes)) != len(codes) or (WORLD in codes and len(codes) > 1):
        raise ValueError("a jurisdiction is named twice, or another beside the whole world")
    return codes


Country = Annotated[str, AfterValidator(_known_country)]
"""Where a machine stands; empty where it does not say."""

Jurisdictions = Annotated[
    tuple[Annotated[str, AfterValidator(_known_jurisdiction)], ...],
    Field(min_length=1, max_length=50),
    AfterValidator(_distinct),
]
"""Where data may be processed."""


def covers(jurisdictions: tuple[str, ...], country: str) -> bool:
    """Whether a place in `country` lies within. A place that does not say where it is lies only within the world."""
    if WORLD in jurisdictions:
        return True
    return any(country == code or country in REGIONS.get(code, ()) for code in jurisdictions)
