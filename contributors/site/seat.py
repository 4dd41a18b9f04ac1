"""A site's part in one sum under masks, from its one-time keys to the shares that it opens; kept in memory alone.

Each step is taken once and in order. What a step refuses leaves nothing of the next one possible.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from learning.privacy.ring import Words, add_stream
from learning.privacy.sharing import SHARE_BYTES, split
from protos.documents.masking import (
    Box,
    GiveShares,
    Masks,
    OneTimeKeys,
    Opened,
    Session,
    SignedSurvivors,
)
from trust.digests import Digest, digest_bytes
from trust.errors import Denied, Invalid
from trust.onetime import OneTimeKey, check_site_signature, keystream, open_sealed, seal


class Signer(Protocol):
    """The site's own key, which its member's consent names."""

    @property
    def digest(self) -> Digest: ...
    @property
    def public_pem(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes: ...


class Seat:
    """Of `member` in a session whose seats the caller has found to be the ledger's. `random` gives bytes nobody can foresee."""

    def __init__(
        self, session: Session, masks: Masks, member: str, key: Signer, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self.session = session
        self._member, self._key, self._random = member, key, random
        self._threshold = masks.threshold(len(session.seats))
        if len(session.seats) < masks.least_members - 1 or self._threshold > len(session.seats):
            raise Denied(f"A sum of {len(session.seats)} members under masks is too small.")
        self._mask, self._sealing = OneTimeKey.generate(), OneTimeKey.generate()
        self._seed = random(32)
        self._peers: dict[str, OneTimeKeys] = {}
        self._sharing: tuple[str, ...] = ()
        self._shares: dict[str, tuple[bytes, bytes]] = {}
        self._survivors: tuple[str, ...] = ()
        self._done = ""

    def keys(self) -> OneTimeKeys:
        with self._step("", "keys"):
            mask, sealing = self._mask.public.hex(), self._sealing.public.hex()
            signature = self._key.sign(self.session.keys_text(self._member, mask, sealing)).hex()
            pem = self._key.public_pem.decode()
            return OneTimeKeys(member=self._member, mask=mask, seal=sealing, site_key=pem, signature=signature)

    def shares(self, keys: tuple[OneTimeKeys, ...]) -> GiveShares:
        """Our secrets in shares, sealed to each that gave keys. Raises `Denied` for a key that its site did not sign, one that
        is there twice, and fewer than the threshold."""
        with self._step("keys", "shares"):
            peers = {each.member: each for each in keys}
            self._check_group(tuple(each.member for each in keys), self.session.members, "gave keys")
            held = {seat.member: seat.site_key for seat in self.session.seats}
            for each in keys:
                text = self.session.keys_text(each.member, each.mask, each.seal)
                check_site_signature(each.site_key.encode(), held[each.member], bytes.fromhex(each.signature), text)
            if len({key for each in keys for key in (each.mask, each.seal)}) < 2 * len(keys):
                raise Denied("A one-time key serves twice.")
            self._peers = peers
            points = {name: self.session.point(name) for name in peers}
            mask = split(self._mask.secret, points.values(), self._threshold, self._random)
            seed = split(self._seed, points.values(), self._threshold, self._random)
            self._shares[self._member] = (mask[points[self._member]], seed[points[self._member]])
            boxes = [
                Box(
                    sender=self._member,
                    to=name,
                    sealed=seal(
                        self._box_key(name), mask[point] + seed[point], self.session.box_about(self._member, name)
                    ).hex(),
                )
                for name, point in points.items()
                if name != self._member
            ]
            return GiveShares(seed=digest_bytes(self._seed), boxes=tuple(boxes))

    def take(self, boxes: tuple[Box, ...]) -> None:
        """The shares of all that shared: with those we mask. One that does not open is kept as none, and its sender's masks are
        for others to open. Raises `Denied` for other senders than gave keys, and for too few."""
        with self._step("shares", "take"):
            sharing = tuple(sorted({self._member, *(box.sender for box in boxes)}))
            if len(sharing) != len(boxes) + 1 or any(box.to != self._member for box in boxes):
                raise Denied("The hub gave us shares of others, or one of a member twice.")
            self._check_group(sharing, self._peers, "shared their secrets")
            self._sharing = sharing
            for box in boxes:
                try:
                    about = self.session.box_about(box.sender, self._member)
                    plain = open_sealed(self._box_key(box.sender), bytes.fromhex(box.sealed), about)
                except (Denied, Invalid):
                    continue
                if len(plain) == 2 * SHARE_BYTES:
                    self._shares[box.sender] = (plain[:SHARE_BYTES], plain[SHARE_BYTES:])

    def mask(self, words: Words) -> None:
        """Put our masks on an encoded update, in place: one of our own, and one with each that shared."""
        with self._step("take", "masked"):
            size = 4 * len(words)
            add_stream(words, keystream(self._seed, size))
            ours = self.session.point(self._member)
            for name in self._sharing:
                if name != self._member:
                    secret = self._mask.agree(bytes.fromhex(self._peers[name].mask), self.session.mask_context())
                    taken_away = ours > self.session.point(name)
                    add_stream(words, keystream(secret, size), taken_away=taken_away)

    def sign(self, survivors: tuple[str, ...], remember: Callable[[tuple[str, ...]], None]) -> SignedSurvivors:
        """Our signature of who is in the sum, once `remember` has kept it durably: we sign no other in this session. Raises
        `Denied` for a list without us, of others than those we share masks with, or that is too short."""
        with self._step("masked", "signed"):
            self._check_group(survivors, self._sharing, "are in the sum")
            remember(survivors)
            self._survivors = survivors
            return SignedSurvivors(
                member=self._member, signature=self._key.sign(self.session.survivors_text(survivors)).hex()
            )

    def open(self, signatures: tuple[SignedSurvivors, ...]) -> tuple[Opened, ...]:
        """One share of each member's secret, once as many as the threshold signed the same list: of the seed of whoever is in the
        sum, of the mask key of who is not; never both. Then all secrets are forgotten. Raises `Denied`."""
        with self._step("signed", "opened"):
            self._check_group(tuple(each.member for each in signatures), self._survivors, "signed the list", ours=False)
            text = self.session.survivors_text(self._survivors)
            held = {seat.member: seat.site_key for seat in self.session.seats}
            for each in signatures:
                pem = self._peers[each.member].site_key.encode()
                check_site_signature(pem, held[each.member], bytes.fromhex(each.signature), text)
            opened = tuple(
                Opened(member=name, share=(seed if name in self._survivors else mask).hex())
                for name, (mask, seed) in sorted(self._shares.items())
                if name in self._sharing
            )
            self._shares, self._seed = {}, b""
            return opened

    def _box_key(self, peer: str) -> bytes:
        return self._sealing.agree(bytes.fromhex(self._peers[peer].seal), self.session.box_context())

    def _check_group(
        self, names: tuple[str, ...], among: tuple[str, ...] | Mapping[str, object], what: str, *, ours: bool = True
    ) -> None:
        if len(set(names)) != len(names) or not set(names) <= set(among):
            raise Denied(f"The hub names a stranger, or one twice, among those that {what}.")
        if ours and self._member not in names:
            raise Denied(f"The hub leaves this site out of those that {what}.")
        if len(names) < self._threshold:
            raise Denied(f"Only {len(names)} {what}, and it takes {self._threshold}.")

    @contextmanager
    def _step(self, after: str, now: str) -> Iterator[None]:
        """The step that may follow `after`. One that is refused was the last."""
        if self._done != after:
            raise Denied("The hub asks for a step of this sum that is over, or not there yet.")
        self._done = "refused"
        yield
        self._done = now
