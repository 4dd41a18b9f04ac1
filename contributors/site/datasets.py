"""Which files a site may train on: those that a dataset of its member names by digest, where their owner lets them be."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from contributors.site.digests import FileDigests
from contributors.site.kept import keep, kept
from contributors.texts import SUFFIXES, sort_files
from protos.documents.base import DigestText, Document, Identifier, Text
from protos.documents.jurisdictions import Country
from protos.documents.placing import Category, Place, Terms, may_learn, may_use
from trust.digests import Digest
from trust.errors import Denied, Invalid, NotFound


class Declared(Document):
    """A dataset of ours, as its signed manifest has it. `gone` says why it counts no more; empty while it does."""

    id: Identifier
    category: Category
    jurisdiction: tuple[str, ...]
    files: tuple[DigestText, ...]
    gone: str = ""

    def refusal(self, site: Place, hub: Place) -> str:
        """Why nothing may be learned from it at this site for this hub; empty where it may."""
        terms = Terms(self.id, self.category, self.jurisdiction, site.owner)
        return self.gone or may_use(terms, site) or may_learn(terms, hub) or ""


class Declarations(Document):
    """All datasets of `member`, and where the hub stands. The site writes them, its training process reads them every round."""

    member: Identifier
    hub: Text
    country: Country = ""
    datasets: tuple[Declared, ...] = ()


@dataclass(frozen=True)
class Source:
    """A file with text, and the dataset that it belongs to."""

    path: Path
    digest: Digest
    dataset: str


def sources(data: Path, country: str, known: Declarations, digests: FileDigests) -> tuple[Source, ...]:
    """Every file with text below `data`, in the order of the names. `country` is where the site stands.

    Raises `Denied` naming the first file that belongs to no dataset of ours or may not be used here, `NotFound`, `Invalid`.
    """
    try:
        files, _ = sort_files(data)
    except NotFound:
        raise NotFound(f"The site's text is not at {data}.", "Correct `data` in site.toml.") from None
    if not files:
        raise Invalid(f"{data} holds no text.", f"Put {', '.join(SUFFIXES)} files there.")
    naming: dict[str, list[Declared]] = defaultdict(list)
    for dataset in known.datasets:
        for digest in set(dataset.files):
            naming[digest].append(dataset)
    site = Place("site", known.member, country, known.member)
    hub = Place("hub", known.hub, known.country)
    return tuple(
        Source(path, digest, _usable(path, naming.get(digest, []), site, hub))
        for path, digest in digests.of(files).items()
    )


def _usable(path: Path, datasets: list[Declared], site: Place, hub: Place) -> str:
    """The first of these datasets that the file may be used under."""
    if not datasets:
        raise Denied(
            f"{path} belongs to no dataset that {site.owner} has submitted.",
            "Take it out, or submit the folder as it is: coalition data submit DIR --category private",
        )
    refusals = {dataset.id: dataset.refusal(site, hub) for dataset in datasets}
    for identifier, why in refusals.items():
        if not why:
            return identifier
    raise Denied(f"{path} may not be trained on: {next(iter(refusals.values()))}.", "Take it out of the site's data.")


def read_declarations(home: Path) -> Declarations:
    """Raises `NotFound` before the site has first heard from the hub."""
    if (known := kept(_path(home), Declarations)) is None:
        raise NotFound("The site does not know its own datasets yet.", "Run `coalition site start`.")
    return known


def write_declarations(home: Path, known: Declarations) -> None:
    """Keep them, if they are other ones than are kept."""
    keep(_path(home), known)


def remembered_digests(home: Path) -> FileDigests:
    return FileDigests(home / "site" / "digests.json")


def _path(home: Path) -> Path:
    return home / "site" / "datasets.json"
