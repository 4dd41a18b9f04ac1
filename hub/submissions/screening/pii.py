"""Personal data and credentials: found by RE2, which is linear in the text whatever the text, then checked by their checksums.

Credentials' patterns follow gitleaks (github.com/gitleaks/gitleaks, config/gitleaks.toml), cards ISO/IEC 7812-1 annex B
(Luhn), account numbers ISO 13616 (IBAN, ISO 7064 mod 97-10), telephone numbers Google's libphonenumber. Names of people are not
looked for: no library that is maintained and works offline tells them from other words well enough.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import re2

from hub.submissions.screening.words import Batch

MAX_PHONES = 200  # candidates checked a batch; libphonenumber takes 60 microseconds for one. More count unchecked.
EXAMPLE_DOMAINS = (
    ".example",
    ".invalid",
    ".test",
    ".localhost",
    "example.com",
    "example.net",
    "example.org",
)  # RFC 2606

SECRETS = {
    "private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----",
    "AWS access key": r"\b(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{82})\b",
    "GitLab token": r"\bglpat-[\w-]{20}",
    "Slack token": r"\bxox[abeoprs]-[0-9]{8,13}-[0-9A-Za-z-]{10,80}",
    "JSON Web Token": r"\beyJ[\w-]{12,}\.eyJ[\w-]{12,}\.[\w-]{10,}",
    "Google API key": r"\bAIza[\w-]{35}",
    "Stripe key": r"\b[rs]k_(?:live|prod)_[0-9A-Za-z]{10,99}\b",
    "OpenAI key": r"\bsk-[\w-]{20,80}T3BlbkFJ[\w-]{20,80}",
    "Anthropic key": r"\bsk-ant-(?:api|admin)[0-9]{2}-[\w-]{80,100}",
    "Hugging Face token": r"\bhf_[A-Za-z]{34}\b",
    "npm token": r"\bnpm_[0-9A-Za-z]{36}\b",
    "PyPI token": r"\bpypi-AgEIcHlwaS5vcmc[\w-]{50,}",
    "SendGrid key": r"\bSG\.[\w-]{22}\.[\w-]{43}",
    "Azure storage key": r"\bAccountKey=[0-9A-Za-z+/]{86}==",
    "AWS secret key": r"(?i:\baws_?secret_?(?:access_?)?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?[0-9A-Za-z+/]{40}",
}
LIKELY = {
    "password": r"\b(?i:password|passwd|pwd)[\"']?\s{0,3}[:=]\s{0,3}[\"']?[^\s\"'<>{}$,;()]{8,100}",
    "bearer token": r"\b(?i:bearer) [\w~+/.-]{20,500}",
    "address with a password": r"\b[a-z][a-z0-9+]{1,20}://[^\s:/@\"'<>{}$]{1,64}:[^\s/@\"'<>{}$]{3,100}@[\w.-]{1,100}",
}
"""What looks like a credential, and in documentation often is none."""


@dataclass(frozen=True)
class Found:
    """A value in a row: its kind and its shape, in which every letter is an x and every digit a 0."""

    kind: str
    row: int
    shape: str


def find(batch: Batch) -> Iterator[Found]:
    """Everything in a batch that is, by its form and checksum, personal data or a credential."""
    data = batch.encoded
    ends: list[int] = []
    phones = 0
    for kind, pattern, check in _RULES:
        for match in pattern.finditer(data):
            value = match.group().decode("utf-8", "replace")
            if kind in _NUMBERS and data[match.start() - 1 : match.start()] in (b".", b"-", b"/"):
                continue  # a part of something longer: decimals, versions, paths
            phones += kind == "telephone number"
            unchecked = kind == "telephone number" and phones > MAX_PHONES
            if not (unchecked or check(value)):
                continue
            ends = ends or list(np.cumsum([len(text.encode("utf-8", "replace")) + 1 for text in batch.texts]))
            row = int(np.searchsorted(ends, match.start(), side="right"))
            yield Found(_secret(value) if kind == "credential" else kind, batch.first + row, shape(value))


def shape(value: str) -> str:
    """What may be shown of a value: where its letters and digits stand, not which."""
    return "".join("0" if c.isdigit() else "x" if c.isalpha() else c for c in value[:40])


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1 annex B)."""
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[::2]) + sum(sum(divmod(2 * value, 10)) for value in values[1::2])) % 10 == 0


def iban(value: str) -> bool:
    """Whether an account number begins here: as long as its country's are, its two check digits right (ISO 13616; mod 97-10)."""
    length = _IBAN.get(value[:2].upper(), 0)
    solid = [place for place, character in enumerate(value) if character.isalnum()]
    if not 0 < length <= len(solid) or value[solid[length - 1] + 1 :][:1].isalnum():
        return False
    plain = "".join(value[place] for place in solid[:length]).upper()
    return plain.isascii() and int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def _card(value: str) -> bool:
    digits = "".join(filter(str.isdigit, value))
    long = 15 if digits[:2] in ("34", "37") else 16
    issued = digits[0] == "4" or "51" <= digits[:2] <= "55" or "2221" <= digits[:4] <= "2720" or digits[:2] in _ISSUED
    return len(digits) == long and issued and len(set(digits)) > 1 and luhn(digits)


def _address(value: str) -> bool:
    """A public address; private ones, and those kept for examples, tell of nobody."""
    try:
        return ipaddress.ip_address(value).is_global
    except ValueError:
        return False


def _email(value: str) -> bool:
    return len(value) <= 254 and not value.lower().endswith(EXAMPLE_DOMAINS)


def _phone(value: str) -> bool:
    import phonenumbers

    value = "".join(character if character.isascii() else " " for character in value)
    if value[0] == "0":
        value = f"+{value[2:]}"
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(value, None if value[0] == "+" else "US")))
    except phonenumbers.NumberParseException:
        return False


def _credential(value: str) -> bool:
    if _secret(value) in LIKELY:
        worth = re.split(r"[\s:=]+", value)[-1] if "://" not in value else value
        return "://" in value or (any(map(str.isdigit, worth)) and any(map(str.isalpha, worth)))
    return not value.endswith(("EXAMPLE", "EXAMPLEKEY"))  # AWS's documentation, as gitleaks leaves it out


def _secret(value: str) -> str:
    """What a credential is; what only looks like one may hold a certain one."""
    return next((name for name, pattern in _SECRETS.items() if pattern.search(value)), "credential")


_ISSUED = ("34", "35", "37", "60", "62", "64", "65")  # American Express, JCB, Discover, UnionPay
_NUMBERS = ("payment card", "IP address")
_SECRETS = {name: re2.compile(pattern) for name, pattern in {**SECRETS, **LIKELY}.items()}
# ISO 13616, the registry's lengths.
_IBAN = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_GAP = "[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{NON-BREAKING HYPHEN}-]".encode()
_RULES: tuple[tuple[str, Any, Callable[[str], bool]], ...] = tuple(
    (kind, re2.compile(pattern.replace(b"GAP", _GAP)), check)
    for kind, pattern, check in (
        ("e-mail address", rb"[\w.%+-]+@(?:[0-9A-Za-z-]+\.)+[A-Za-z]{2,24}", _email),
        ("credential", "|".join([*SECRETS.values(), *LIKELY.values()]).encode(), _credential),
        (
            "telephone number",
            rb"(?:\+[1-9]|\b00[1-9][0-9]{0,2}GAP)(?:[0-9()./]|GAP){5,18}[0-9]|\([2-9][0-9]{2}\)GAP?[2-9][0-9]{2}GAP[0-9]{4}",
            _phone,
        ),
        (
            "payment card",
            rb"\b[2-6][0-9]{3}(?:[0-9]{11,12}|(?:GAP[0-9]{4}){3}|GAP[0-9]{6}GAP[0-9]{5})\b",
            _card,
        ),
        ("bank account (IBAN)", rb"\b[A-Z]{2}[0-9]{2}(?:GAP?[A-Z0-9]{4}){2,7}(?:GAP?[A-Z0-9]{1,3})?\b", iban),
        ("IP address", rb"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", _address),
    )
)
