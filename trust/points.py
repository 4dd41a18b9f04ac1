"""Which encodings of an Ed25519 public key are taken from others (RFC 8032).

OpenSSL verifies under many keys that prove nothing. Chalkias, Garillot and Nikolaenko, "Taming the Many EdDSAs" (SSR 2020), and
the vectors of C2SP/CCTV name them: under a point of small order one signature verifies for many messages, and an encoding that
is not canonical is a second spelling of a key that may be known already. Both are refused here, before a key is used at all.
"""

from __future__ import annotations

from trust.errors import Invalid

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_NEUTRAL = (0, 1)


def check_ed25519(raw: bytes) -> None:
    """Raises `Invalid` unless the 32 bytes are the canonical encoding of a curve point whose order is not small."""
    if len(raw) != 32:
        raise Invalid(f"An Ed25519 public key has 32 bytes; this one has {len(raw)}.")
    point = _decode(raw)
    for _ in range(3):
        point = _double(point)
    if point == _NEUTRAL:
        raise Invalid("The Ed25519 public key is a point of low order, under which signatures prove nothing.")


def _decode(raw: bytes) -> tuple[int, int]:
    """The point of an encoding (RFC 8032, section 5.1.3), with the two rules that verifiers tend to leave out."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        raise Invalid("The Ed25519 public key is encoded in a non-canonical way.")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if x * x % _P != square:
        raise Invalid("The Ed25519 public key is not a point of the curve.")
    if x == 0 and sign:
        raise Invalid("The Ed25519 public key is encoded in a non-canonical way.")
    return (_P - x if x % 2 != sign else x), y


def _double(point: tuple[int, int]) -> tuple[int, int]:
    """Affine doubling on the twisted Edwards curve; its formula is complete, since d is no square."""
    x, y = point
    product = _D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, _P) % _P,
        (y * y + x * x) * pow(1 - product, -1, _P) % _P,
    )
