"""Shamir's secret sharing: any `threshold` shares give a secret, fewer tell nothing of it.

Shamir, "How to share a secret", 1979. Over the integers modulo the Mersenne prime 2^521 - 1, in which a secret of 32
bytes fits whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from trust.errors import Invalid

PRIME = 2**521 - 1
SECRET_BYTES, SHARE_BYTES = 32, 66
_WIDE = SHARE_BYTES + 16  # so many random bytes, brought below the prime, favour no number that anybody could notice


def split(secret: bytes, points: Collection[int], threshold: int, random: Callable[[int], bytes]) -> dict[int, bytes]:
    """A share of 66 bytes for each point; `random` gives bytes that nobody can foresee.

    Raises `Invalid` for a secret that is not of 32 bytes, for points that are not above 0 and different, and where the threshold
    is above their number or below 1.
    """
    if len(secret) != SECRET_BYTES:
        raise Invalid(f"A secret of {len(secret)} bytes cannot be shared, only one of {SECRET_BYTES}.")
    if len(set(points)) != len(points) or min(points, default=0) < 1 or not 1 <= threshold <= len(points):
        raise Invalid(f"A secret cannot be shared among {len(points)} so that {threshold} give it.")
    rest = [int.from_bytes(random(_WIDE), "big") % PRIME for _ in range(threshold - 1)]
    polynomial = [int.from_bytes(secret, "big"), *rest]
    return {point: _at(polynomial, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret, of as many shares as the threshold. Raises `Invalid` where they are of no secret; too few, or one that is
    wrong, give another secret or that."""
    values = {point: int.from_bytes(share, "big") for point, share in shares.items()}
    total = 0
    for point, value in values.items():
        above = below = 1
        for other in values:
            if other != point:
                above, below = above * other % PRIME, below * (other - point) % PRIME
        total += value * above * pow(below, -1, PRIME)
    total %= PRIME
    if not values or total >> (8 * SECRET_BYTES):
        raise Invalid("The shares give no secret: they are too few, or one of them is wrong.")
    return total.to_bytes(SECRET_BYTES, "big")


def _at(polynomial: list[int], point: int) -> int:
    found = 0
    for coefficient in reversed(polynomial):
        found = (found * point + coefficient) % PRIME
    return found
