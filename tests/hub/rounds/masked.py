"""Sites and a hub of one sum, in one process and without the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contributors.site.seat import Seat
from hub.rounds.unmasking import Unmasking
from learning.privacy.ring import Words
from protos.documents.masking import Box, Masks, OneTimeKeys, Opened, Session, SignedSurvivors
from protos.documents.masking import Seat as Place
from trust.digests import Digest, digest_bytes

TASK = digest_bytes(b"task")
NAMES = ("law", "medicine", "physics", "trade", "weather", "zoology")


@dataclass
class Signing:
    """A site's key, held in memory."""

    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    @property
    def public_pem(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def digest(self) -> Digest:
        return digest_bytes(self.public_pem)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA384()))


SIGNING = {name: Signing() for name in NAMES}


def session(count: int, nonce: str = "0" * 64) -> Session:
    seats = tuple(Place(member=name, site_key=SIGNING[name].digest) for name in NAMES[:count])
    return Session(campaign="campaign-a", round=1, task=TASK, nonce=nonce, seats=seats)


@dataclass
class Dance:
    """A sum of `count` members, step by step; members that drop are left out of a step's `who`."""

    count: int
    masks: Masks = field(default_factory=lambda: Masks(colluding=0))
    nonce: str = "0" * 64

    def __post_init__(self) -> None:
        self.session = session(self.count, self.nonce)
        self.seats = {name: Seat(self.session, self.masks, name, SIGNING[name]) for name in self.session.members}
        self.keys: dict[str, OneTimeKeys] = {}
        self.boxes: list[Box] = []
        self.seeds: dict[str, str] = {}
        self.masked: dict[str, Words] = {}

    @property
    def threshold(self) -> int:
        return self.masks.threshold(self.count)

    def give_keys(self, who: Iterable[str]) -> None:
        self.keys = {name: self.seats[name].keys() for name in who}

    def share(self, who: Iterable[str]) -> None:
        for name in who:
            given = self.seats[name].shares(tuple(self.keys.values()))
            self.seeds[name] = given.seed
            self.boxes += given.boxes

    def mask(self, updates: Mapping[str, Words]) -> None:
        for name, words in updates.items():
            self.seats[name].take(self.boxes_for(name))
            self.masked[name] = words.copy()
            self.seats[name].mask(self.masked[name])

    def boxes_for(self, name: str) -> tuple[Box, ...]:
        return tuple(box for box in self.boxes if box.to == name and box.sender in self.seeds)

    def sign(self, who: Iterable[str], survivors: tuple[str, ...] | None = None) -> tuple[SignedSurvivors, ...]:
        listed = tuple(sorted(self.masked)) if survivors is None else survivors
        return tuple(self.seats[name].sign(listed, lambda names: None) for name in who)

    def open(self, who: Iterable[str], signatures: tuple[SignedSurvivors, ...]) -> dict[str, tuple[Opened, ...]]:
        return {name: self.seats[name].open(signatures) for name in who}

    def unmask(self, opened: Mapping[str, tuple[Opened, ...]]) -> Words:
        size = len(next(iter(self.masked.values())))
        keys = {name: self.keys[name] for name in self.seeds}
        found = Unmasking(self.session, self.threshold, keys, self.seeds, size)
        for name, words in self.masked.items():
            found.add(name, words)
        return found.result(opened)


def numbers(names: Iterable[str], size: int = 50) -> dict[str, Words]:
    """Other words for each member, the same every time."""
    return {name: np.random.default_rng(NAMES.index(name)).integers(0, 2**32, size, dtype=np.uint32) for name in names}


def plain(names: Iterable[str]) -> Words:
    """The sum of what these members have."""
    total: Words = np.sum(list(numbers(names).values()), axis=0, dtype=np.uint32)
    return total
