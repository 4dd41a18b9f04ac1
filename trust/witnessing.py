"""The rule of a witness (c2sp.org/tlog-witness, add-checkpoint): a pure function from what it cosigned last to its answer.

Who calls it must do the check and the persisting of the new head as one step, and persist before the cosignature leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trust import merkle
from trust.encoding import from_base64, to_base64
from trust.errors import Corrupt, Denied, Invalid
from trust.keys import LogPublicKey
from trust.merkle import EMPTY_ROOT
from trust.notes import TreeHead, claimed_head, verify_tree_head

MAX_PROOF = 63
MAX_REQUEST = 1 << 17
SIZE_TYPE = "text/x.tlog.size"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")

Latest = Callable[[str], TreeHead | None]
"""The head that was cosigned last for the log of that origin, if any."""


@dataclass(frozen=True)
class AddCheckpoint:
    """A request: cosign `note`, whose tree extends the first `old` entries as `proof` shows."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        lines = [f"old {self.old}", *map(to_base64, self.proof), ""]
        return ("\n".join(lines) + "\n").encode() + self.note

    @classmethod
    def decode(cls, body: bytes) -> AddCheckpoint:
        """Raises `Invalid`."""
        if len(body) > MAX_REQUEST:
            raise Invalid(f"The request has {len(body)} bytes; {MAX_REQUEST} are allowed.")
        head, blank, note = body.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise Invalid("The lines before the checkpoint are not ASCII.") from None
        old = _OLD.fullmatch(lines[0])
        if not blank or old is None:
            raise Invalid("The request does not begin with an old size.")
        if len(lines) - 1 > MAX_PROOF:
            raise Invalid(f"The proof has {len(lines) - 1} hashes; {MAX_PROOF} are allowed.")
        proof = tuple(from_base64(line, "A hash of the proof") for line in lines[1:])
        if any(len(value) != 32 for value in proof):
            raise Invalid("A hash of the proof does not have 32 bytes.")
        return cls(int(old[1]), proof, note)


@dataclass(frozen=True)
class Accepted:
    """`head` may be cosigned once it is persisted."""

    head: TreeHead
    note: bytes


@dataclass(frozen=True)
class Refused:
    """An HTTP status and body. With `suspect`, the log signed a head that does not fit the one cosigned before, or need not:
    of a smaller head, only who holds the tree can tell.
    """

    status: int
    why: str
    size: int | None = None
    suspect: AddCheckpoint | None = None

    @property
    def body(self) -> bytes:
        return f"{self.why if self.size is None else self.size}\n".encode()

    @property
    def content_type(self) -> str:
        return "text/plain; charset=utf-8" if self.size is None else SIZE_TYPE


def judge(body: bytes, logs: Mapping[str, LogPublicKey], latest: Latest) -> Accepted | Refused:
    """The witness's answer to a request body, in the order of the specification. `logs` are the known ones by origin."""
    try:
        request = AddCheckpoint.decode(body)
        origin = claimed_head(request.note).origin
    except Invalid as problem:
        return Refused(400, problem.what)
    if (key := logs.get(origin)) is None:
        return Refused(404, f"The log {origin[:200]!r} is not one that this witness knows.")
    try:
        head = verify_tree_head(request.note, key, origin)
    except Denied as problem:
        return Refused(403, problem.what)
    cosigned = latest(origin)
    known = cosigned or TreeHead(origin, 0, EMPTY_ROOT)
    suspect = request if cosigned and head.size <= known.size and head.root != known.root else None
    if request.old > head.size:
        return Refused(400, f"The old size {request.old} exceeds the checkpoint's, {head.size}.", suspect=suspect)
    if request.old != known.size:
        return Refused(409, "The old size is not that of the last cosigned checkpoint.", known.size, suspect)
    return _judge_growth(request, head, known, request if cosigned else None)


def _judge_growth(
    request: AddCheckpoint, head: TreeHead, known: TreeHead, suspect: AddCheckpoint | None
) -> Accepted | Refused:
    """The old size is the one we know: the trees must be one history. Without a cosigned head nothing can contradict it."""
    if head.size == known.size and head.root != known.root:
        return Refused(409, "The log signed two trees of one size.", known.size, suspect)
    try:
        merkle.verify_consistency(known.size, head.size, known.root, head.root, request.proof)
    except Corrupt as problem:
        return Refused(422, problem.what, suspect=suspect)
    return Accepted(head, request.note)
