"""What every document of the contract shares: closed schemas, typed fields, one clear sentence when something is off."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from protos.documents import wording
from trust.errors import Invalid

Name = Annotated[str, StringConstraints(pattern=wording.NAME)]
Identifier = Annotated[str, StringConstraints(pattern=wording.IDENTIFIER)]
DigestText = Annotated[str, StringConstraints(pattern=wording.DIGEST)]
# What moves a terminal's cursor, and what shows a text as another (Unicode TR 36, section 2.5).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text itself. Raises `ValueError` where it holds control or bidirectional characters."""
    if found := _UNPRINTABLE.search(text):
        raise ValueError(
            f"holds U+{ord(found.group()):04X} at character {found.start()}, which is no printable character"
        )
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(printable)]
Licence = Annotated[str, StringConstraints(pattern=wording.LICENCE)]
Path = Annotated[str, StringConstraints(pattern=wording.PATH)]


def moment(time: str) -> datetime:
    """What RFC 3339 says of a time in UTC. Raises `Invalid` for anything else."""
    try:
        found = datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError as error:
        raise Invalid(f"{time[:40]!r} is no moment: {error}.") from None
    if found.tzinfo is None:
        raise Invalid(f"{time[:40]!r} is no moment in UTC.")
    return found


def _real(time: str) -> str:
    try:
        moment(time)
    except Invalid as problem:
        raise ValueError(problem.what.rstrip(".")) from None
    return time


Moment = Annotated[
    str,
    StringConstraints(pattern=r"^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"),
    AfterValidator(_real),
]
"""RFC 3339 in UTC, of this millennium: far enough from the ends of the calendar to be reckoned with."""


Clock = Annotated[str, StringConstraints(min_length=1, max_length=40), AfterValidator(printable)]
"""What somebody's clock said, which may be wrong and decides nothing: order is the ledger's."""


def now() -> str:
    """The present as RFC 3339 in UTC, to the millisecond."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as statements and tables hold it, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Document(BaseModel):
    """A value with a closed schema: unknown keys are refused, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, value: Any) -> Self:
        """Validate parsed JSON or TOML. Raises `Invalid` naming the first field at fault."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = wording.place(first, value)
            raise Invalid(wording.sentence(first, cls.__name__, field), field=field or cls.__name__) from None


class FileEntry(Document):
    """One file of a submission, model or release; `size` in bytes."""

    path: Path
    digest: DigestText
    size: int = Field(ge=0)


class Claim(Document):
    """The predicate of every statement: `hub` (log origin) binds it to one coalition, `signer` to one party.

    `delegation` names the delegation under which another key signs in the signer's name.
    """

    hub: Text
    signer: Identifier
    issued_at: Clock = Field(default_factory=now)
    delegation: Identifier | None = None
