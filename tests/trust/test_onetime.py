"""What only two can derive, what opens for one alone, and a stream that follows from its secret."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from trust.digests import digest_bytes
from trust.errors import Denied, Invalid
from trust.onetime import CHUNK, OneTimeKey, check_site_signature, keystream, open_sealed, seal


def test_two_agree_on_a_secret_that_a_third_and_another_context_have_not() -> None:
    a, b, c = (OneTimeKey.generate() for _ in range(3))
    assert a.agree(b.public, b"x") == b.agree(a.public, b"x")
    assert len({a.agree(b.public, b"x"), a.agree(b.public, b"y"), a.agree(c.public, b"x")}) == 3


@pytest.mark.parametrize("bad", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_points_of_low_order_are_refused(bad: bytes) -> None:
    with pytest.raises(Invalid, match="no point"):
        OneTimeKey.generate().agree(bad, b"x")


def test_a_box_opens_with_its_key_about_its_subject_and_unchanged() -> None:
    key = bytes(range(32))
    box = seal(key, b"shares", b"law to medicine")
    assert open_sealed(key, box, b"law to medicine") == b"shares"
    assert box != seal(key, b"shares", b"law to medicine")
    for wrong in (
        (bytes(32), box, b"law to medicine"),
        (key, box, b"medicine to law"),
        (key, box[:-1], b""),
        (key, b"", b""),
    ):
        with pytest.raises(Denied, match="does not open"):
            open_sealed(*wrong)


def test_the_stream_is_aes_in_counter_mode_whatever_its_length() -> None:
    whole = Cipher(algorithms.AES256(bytes(range(32))), modes.CTR(bytes(16))).encryptor().update(bytes(CHUNK + 20))
    for size in (0, 5, CHUNK, CHUNK + 20):
        assert b"".join(keystream(bytes(range(32)), size)) == whole[:size]


def test_a_sites_signature_is_of_the_key_that_was_named() -> None:
    key, other = (ec.generate_private_key(curve) for curve in (ec.SECP384R1(), ec.SECP256R1()))
    pems = [
        each.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for each in (key, other)
    ]
    signature = key.sign(b"keys", ec.ECDSA(hashes.SHA384()))
    check_site_signature(pems[0], digest_bytes(pems[0]), signature, b"keys")
    with pytest.raises(Denied, match="consent names"):
        check_site_signature(pems[0], digest_bytes(pems[1]), signature, b"keys")
    weaker = other.sign(b"keys", ec.ECDSA(hashes.SHA384()))
    for pem, said, text in (
        (pems[0], signature, b"other"),
        (pems[0], b"", b"keys"),
        (pems[1], weaker, b"keys"),
        (b"", b"", b""),
    ):
        with pytest.raises(Denied, match="does not hold"):
            check_site_signature(pem, digest_bytes(pem), said, text)
