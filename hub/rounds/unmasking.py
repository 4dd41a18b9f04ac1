"""A round's sum under masks, as the hub makes it: masked updates added up as they come, then the masks taken off again.

Pure values: no message is sent or read here. See `contributors.site.seat` for the other side, and decision 30.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations, islice

import numpy as np

from learning.privacy.ring import Words, add_stream
from learning.privacy.sharing import combine
from protos.documents.masking import OneTimeKeys, Opened, Session
from trust.digests import digest_bytes
from trust.errors import Invalid, Unavailable
from trust.onetime import OneTimeKey, keystream
from trust.sentences import counted

_TRIES = 200  # groups of shares that are tried for a secret, where some of them are wrong


class Unmasking:
    """Of one session. `keys` are of the members that shared their secrets, `seeds` the digests of their own masks' seeds."""

    def __init__(
        self, session: Session, threshold: int, keys: Mapping[str, OneTimeKeys], seeds: Mapping[str, str], size: int
    ) -> None:
        self._session, self._threshold, self._keys, self._seeds = session, threshold, keys, seeds
        self._total: Words = np.zeros(size, np.uint32)
        self.survivors: tuple[str, ...] = ()

    def add(self, member: str, words: Words) -> None:
        """Take in a masked update, and no more of it than the sum. Raises `Invalid`, unchanged."""
        if member not in self._keys or member in self.survivors or words.shape != self._total.shape:
            raise Invalid("The masked update is none of this sum.")
        np.add(self._total, words, out=self._total)
        self.survivors = tuple(sorted((*self.survivors, member)))

    def result(self, opened: Mapping[str, tuple[Opened, ...]]) -> Words:
        """The sum of the survivors' encoded updates. `opened` has what each that signed opened.

        Raises `Unavailable` where a secret was opened by fewer than the threshold, or by none rightly.
        """
        shares = self._by_owner(opened)
        size = 4 * len(self._total)
        for member in self.survivors:
            seed = self._secret(member, shares[member])
            add_stream(self._total, keystream(seed, size), taken_away=True)
        for gone in sorted(self._keys.keys() - set(self.survivors)):
            key = OneTimeKey(self._secret(gone, shares[gone]))
            point = self._session.point(gone)
            for member in self.survivors:
                secret = key.agree(bytes.fromhex(self._keys[member].mask), self._session.mask_context())
                added = (
                    self._session.point(member) < point
                )  # the lower of a pair adds their mask, the other takes it away
                add_stream(self._total, keystream(secret, size), taken_away=added)
        return self._total

    def _by_owner(self, opened: Mapping[str, tuple[Opened, ...]]) -> dict[str, dict[int, bytes]]:
        found: dict[str, dict[int, bytes]] = defaultdict(dict)
        for opener, shares in opened.items():
            for each in shares:
                found[each.member][self._session.point(opener)] = bytes.fromhex(each.share)
        return found

    def _secret(self, member: str, shares: Mapping[int, bytes]) -> bytes:
        """What enough of the shares agree on. Whether it is right, the digest of the seed or the public mask key tells."""
        if len(shares) < self._threshold:
            what = f"{counted(len(shares), 'share')} of {member}'s mask came, and it takes {self._threshold}"
            raise Unavailable(f"The sum stays masked: {what}.")
        for group in islice(combinations(sorted(shares), self._threshold), _TRIES):
            try:
                secret = combine({point: shares[point] for point in group})
            except Invalid:
                continue
            if self._is_right(member, secret):
                return secret
        raise Unavailable(f"The sum stays masked: the shares of {member}'s mask do not agree.")

    def _is_right(self, member: str, secret: bytes) -> bool:
        if member in self.survivors:
            return digest_bytes(secret) == self._seeds[member]
        return OneTimeKey(secret).public.hex() == self._keys[member].mask
