"""Personal data and credentials are found by form and checksum, and shown as shapes alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.submissions.screening import pii
from hub.submissions.screening.datasets import screen_dataset
from hub.submissions.screening.words import Batch
from tests.hub.submissions.screening.test_datasets import job, rows, told

KEYS = {
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
    "AWS access key": "AKIA" + "Q2W3E4R5T6Y7U2I3",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "aB3_" * 5,
    "Slack token": "xoxb-" + "123456789012-" + "abcDEF1234",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "Google API key": "AIza" + "B" * 35,
    "Hugging Face token": "hf_" + "aBcDe" * 6 + "fghi",
    "SendGrid key": "SG." + "aB3_" * 5 + "aB." + "aB3-" * 10 + "aB3",
    "Azure storage key": "AccountKey=" + "aB3/" * 21 + "aB==",
    "AWS secret key": "aws_secret_access_key = " + "aB3/" * 10,
    "password": "password=correct7horse",
    "bearer token": "Authorization: Bearer " + "aB3_" * 8,
    "address with a password": "postgres://clerk:hunter2@db/ledger",
}
NARROW, BOUND = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"


def kinds(text: str) -> list[str]:
    return [found.kind for found in pii.find(Batch([text]))]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.schmidt+x@uni-koeln.de today", "e-mail address"),
        ("call +49 221 470-2224 today", "telephone number"),
        ("call (212) 736-5000 today", "telephone number"),
        ("pay with 4111 1111 1111 1111 now", "payment card"),
        ("pay with 378282246310005 now", "payment card"),
        ("to DE89 3704 0044 0532 0130 00 please", "bank account (IBAN)"),
        ("to GB82WEST12345698765432 please", "bank account (IBAN)"),
        ("to DE89 3704 0044 0532 0130 00 BIC COBADEFF please", "bank account (IBAN)"),
        (f"to DE89{BOUND}3704{BOUND}0044{BOUND}0532{BOUND}0130{BOUND}00 please", "bank account (IBAN)"),
        ("to GB82-WEST-1234-5698-7654-32 please", "bank account (IBAN)"),
        (f"call +49{BOUND}221{BOUND}470{NARROW}2224 today", "telephone number"),
        ("call +49.221.4702224 today", "telephone number"),
        ("call 0049 221 4702224 today", "telephone number"),
        (f"pay with 4111{BOUND}1111{BOUND}1111{BOUND}1111 now", "payment card"),
        ("from 8.8.8.8 it came", "IP address"),
        *((f"with {value} in it", kind) for kind, value in KEYS.items()),
    ],
)
def test_what_is_personal_is_found(text: str, kind: str) -> None:
    assert kinds(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "ask someone@example.org",
        "4111 1111 1111 1112",
        "0.4111111111111111",
        "DE89 3704 0044 0532 0130 01",
        "192.168.0.1 and 127.0.0.1 and 999.1.1.1",
        "version 1.2.3 of 2024-01-02, ISBN 978-3-16-148410-0",
        "AKIAIOSFODNN7EXAMPLE",
        "+1 000",
        "0012345678 0012345679",
        "set password=required and type your password: ********",
        "the bearer of these presents, and Bearer authentication-and-authorization-schemes",
        "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
        "postgres://{user}:{password}@{host}/db and https://host:8080/a@b",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert kinds(text) == []


def test_places_and_shapes_are_told_and_never_a_value() -> None:
    batch = Batch(["nothing", "ä mail peter@uni-bonn.de"], first=10)
    assert list(pii.find(batch)) == [pii.Found("e-mail address", 11, "xxxxx@xxx-xxxx.xx")]


@given(st.text("0123456789", min_size=2, max_size=20))
def test_luhn_accepts_exactly_one_check_digit(digits: str) -> None:
    assert sum(pii.luhn(digits + check) for check in "0123456789") == 1


@given(st.text("0123456789", min_size=4, max_size=20), st.integers(0, 19), st.integers(1, 9))
def test_luhn_sees_every_wrong_digit(digits: str, place: int, change: int) -> None:
    whole = digits + next(check for check in "0123456789" if pii.luhn(digits + check))
    place %= len(whole)
    wrong = whole[:place] + str((int(whole[place]) + change) % 10) + whole[place + 1 :]
    assert not pii.luhn(wrong)


@given(st.text("0123456789", min_size=18, max_size=18), st.integers(0, 97))
def test_an_iban_has_one_pair_of_check_digits(account: str, wrong: int) -> None:
    checks = 98 - int(account + "131400") % 97
    assert pii.iban(f"DE{checks:02}{account}")
    assert pii.iban(f"DE{wrong:02}{account}") == (wrong % 97 == checks % 97)


def test_many_telephone_numbers_are_counted_without_checking_each() -> None:
    numbers = " ".join(f"+49 221 {random.Random(n).randrange(10**6, 10**7)}" for n in range(2000))
    assert kinds(numbers).count("telephone number") >= 1800


def test_what_holds_a_certain_credential_is_one() -> None:
    assert kinds(f"Bearer {KEYS['JSON Web Token']}") == ["JSON Web Token"]
    assert kinds(f"password={KEYS['AWS access key']}") == ["AWS access key"]


def test_what_only_looks_like_a_credential_refuses_no_dataset(tmp_path: Path) -> None:
    """Documentation is full of it; what is a credential for certain does refuse."""
    texts = [*rows(20), f"connect with {KEYS['password']}"]
    assert told(screen_dataset(job(tmp_path / "likely", texts)))["secrets"].severity == "warning"
    certain = [*texts[:20], f"connect with {KEYS['Azure storage key']}"]
    assert told(screen_dataset(job(tmp_path / "certain", certain)))["secrets"].severity == "reject"
