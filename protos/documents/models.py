"""Model versions and releases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from protos.documents.base import Claim, DigestText, Document, FileEntry, Identifier, Licence, Name, Text
from protos.documents.rewards import Rewarded

Version = Annotated[str, StringConstraints(pattern=r"^[0-9a-z][0-9a-z.-]{0,39}$")]
"""Of a release; also its identifier in the ledger."""


class DataUsed(Document):
    """One dataset that entered a model: its statement's payload digest and the tokens trained on."""

    dataset: Identifier
    payload: DigestText
    member: Identifier
    licence: Licence
    tokens: int = Field(ge=0)


class Contribution(Document):
    """One member's part in a round. `why` says what gave it its weight, `excluded` why it has none; `quality` is what was
    measured on held-out text, 0 where nothing was; `update` is the digest of what its site sent, where it was fit to count;
    `rewarded` what it came to where the campaign learns from rewards. `late` counts the rounds since the model that it started
    from, where the campaign takes late ones.

    Losses, rewards and norm are `withheld` (0, or none) where the campaign guarantees privacy, which they are not part of.
    """

    member: Identifier
    examples: int = Field(ge=0)
    weight: float = Field(ge=0)
    loss_first: float
    loss_last: float
    update_norm: float = Field(ge=0)
    excluded: str = Field(default="", max_length=500)
    why: str = Field(default="", max_length=200)
    update: DigestText | None = None
    quality: float = Field(default=0, ge=0)
    withheld: bool = False
    rewarded: Rewarded | None = None
    late: int = Field(default=0, ge=0)


class Skip(Document):
    """A spike in the loss sent training back to step `after`, and it went on with the batches after step `until`."""

    after: int = Field(ge=0)
    until: int = Field(ge=1)


class Import(Claim):
    """Signed by the hub: weights that others trained were taken in, as they are. `provenance` says whose they are, and where they
    were found."""

    name: Name
    licence: Licence
    provenance: Text
    files: tuple[FileEntry, ...] = Field(min_length=1)


class Model(Claim):
    """Signed by the hub: a model version, and all that went into it. `payload` is the statement of its source, a run, campaign or
    import; `skipped` are the batches that a run did not learn from."""

    model: Identifier
    parent: Identifier | None = None
    origin: Literal["run", "round", "import"]
    source: Identifier
    payload: DigestText
    round: int = Field(default=0, ge=0)
    parameters: int = Field(ge=1)
    architecture: str = Field(max_length=100)
    tokens: int = Field(default=0, ge=0)
    files: tuple[FileEntry, ...] = Field(min_length=1)
    data: tuple[DataUsed, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    update: DigestText | None = None
    skipped: tuple[Skip, ...] = ()
    code_version: str = Field(max_length=100)


class Release(Claim):
    """Signed by a core member: this folder, under this version. `bundle` is the Sigstore bundle over the same files."""

    version: Version
    model: Identifier
    files: tuple[FileEntry, ...] = Field(min_length=1)
    bundle: DigestText
