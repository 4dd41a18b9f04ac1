"""What a member signs when it submits a dataset, an evaluation suite or a reward policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from protos.documents.base import Claim, DigestText, FileEntry, Identifier, Licence, Name, Text
from protos.documents.jurisdictions import WORLD, Jurisdictions
from protos.documents.placing import AT_HOME, Category
from protos.documents.rewards import RewardPolicy

SuiteVisibility = Literal["hub", "members", "sealed"]


class DatasetFile(FileEntry):
    """A file with a text in every row, in one of the formats of `protos.formats`."""

    rows: int = Field(ge=1)


class Dataset(Claim):
    """A domain dataset: who may use it says its category, where its jurisdiction. The manifest is for everybody to read.

    The files of a dataset that stays at home are named, so that its use can be attributed, and never sent.
    """

    name: Name
    domain: Name
    licence: Licence
    provenance: Text
    category: Category = "controlled"
    jurisdiction: Jurisdictions = (WORLD,)
    rows: int = Field(ge=1)
    files: tuple[DatasetFile, ...] = Field(min_length=1, max_length=1000)

    @property
    def at_home(self) -> bool:
        """Whether its text never leaves its owner's site."""
        return self.category in AT_HOME

    @property
    def sent(self) -> tuple[DatasetFile, ...]:
        """The files that come to the hub."""
        return () if self.at_home else self.files

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.category == "sovereign" and WORLD in self.jurisdiction:
            raise ValueError("sovereign data names the jurisdictions that it is sovereign in")
        if self.rows != sum(file.rows for file in self.files):
            raise ValueError(f"the files have {sum(file.rows for file in self.files)} rows, not {self.rows}")
        _one_size(self.files)
        return self


def _one_size(files: Iterable[FileEntry]) -> None:
    """Raises `ValueError` where the same bytes would have two sizes."""
    sizes: dict[str, int] = {}
    for file in files:
        if sizes.setdefault(file.digest, file.size) != file.size:
            raise ValueError(
                f"{file.path} has {file.size} bytes, and another file with its digest {sizes[file.digest]}"
            )


class Suite(Claim):
    """An evaluation suite: `suite.json` and the JSONL it names. With visibility `hub` other members see scores only; with
    `sealed` the hub, too, keeps it encrypted, and the per-item logs are its owner's."""

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z.-]{1,20}$")
    domain: Name
    licence: Licence
    visibility: SuiteVisibility = "members"
    files: tuple[FileEntry, ...] = Field(min_length=2, max_length=100)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _one_size(self.files)
        return self

    @property
    def sent(self) -> tuple[FileEntry, ...]:
        """The files that come to the hub: all of them."""
        return self.files


class Reward(Claim):
    """A reward policy, for everybody to read: the statement holds all of it, so no file comes to the hub."""

    policy: RewardPolicy

    domain: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    files: ClassVar[tuple[FileEntry, ...]] = ()
    sent: ClassVar[tuple[FileEntry, ...]] = ()

    @property
    def name(self) -> str:
        return self.policy.name


Submission = Dataset | Suite | Reward


class Withdrawal(Claim):
    """Signed by a submission's owner, or by the core team where the hub's policy lets it: it is used no more."""

    submission: Identifier
    reason: Text = "withdrawn by its owner"


class Purge(Claim):
    """Signed by the hub: of a withdrawn submission, the blobs that nothing which stands names. They need not be there any more,
    unless a later statement names them again."""

    submission: Identifier
    blobs: tuple[DigestText, ...] = Field(min_length=1, max_length=1000)
