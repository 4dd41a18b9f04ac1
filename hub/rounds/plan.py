"""What the hub and the campaign's server app tell each other: files in the campaign's directory, and events on a pipe.

plan.json        from the hub: the campaign, who consented, what may be learned from, where to begin; rewritten when that changes
parent/          the model that the first round starts from
updates/N        the updates of the rounds before and who gave them, as recorded, where the strategy looks back at them
held-out/        the text that updates are measured by, where the campaign names one
rounds/N/        from the server app, by one rename: result.json, adapter.safetensors, model/
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import Field

from protos.documents.base import DigestText, Document, FileEntry, Identifier
from protos.documents.campaigns import CampaignSpec
from protos.documents.models import Contribution
from protos.documents.rounds import Learned
from trust.digests import digest_file
from trust.errors import Invalid, NotFound
from trust.files import write_atomic

MAX_DOCUMENT = 16 << 20


class Site(Document):
    """A consenting member, the SHA-256 of its SuperNode's public key (SPKI, PEM), and the datasets it may learn from."""

    member: Identifier
    key: DigestText
    datasets: tuple[Identifier, ...] = ()


class Plan(Document):
    """A Flower run's order: from `first_round` to the last of the spec. `taken` are the digests of updates that were averaged in
    the recorded rounds."""

    campaign: Identifier
    spec: CampaignSpec
    first_round: int = Field(ge=1)
    sites: tuple[Site, ...]
    superlink: str
    authority: str
    secret: str
    taken: tuple[DigestText, ...] = ()


class RoundResult(Document):
    """A round that is done. `parent` names the files of the model it started from, so that no result is misplaced."""

    campaign: Identifier
    round: int = Field(ge=1)
    parent: tuple[FileEntry, ...]
    contributions: tuple[Contribution, ...]
    tokens: int = Field(ge=0)
    data: tuple[Learned, ...] = ()


class Past(Document):
    """Who took part in a recorded round."""

    contributions: tuple[Contribution, ...]


class Event(Document):
    """A line that the server app says: for watchers, or (`failure`) why it gives up."""

    phase: str
    message: str = ""
    metrics: tuple[tuple[int, str, float], ...] = ()
    failure: str = ""


def write_document(path: Path, document: Document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, document.model_dump_json().encode())


def read_plan(directory: Path) -> Plan:
    return Plan.read(_json(directory / "plan.json"))


def site_of(plan: Plan, member: str) -> Site | None:
    """The member's site, while its consent counts."""
    return next((site for site in plan.sites if site.member == member), None)


def read_event(line: bytes) -> Event:
    """Raises `Invalid`."""
    try:
        return Event.read(json.loads(line))
    except ValueError:
        raise Invalid("The server app said something that is no event.") from None


def round_directory(directory: Path, number: int) -> Path:
    return directory / "rounds" / str(number)


def read_result(directory: Path, number: int) -> RoundResult | None:
    """A finished round's result, or None. Directories that are still being written have other names."""
    try:
        return RoundResult.read(_json(round_directory(directory, number) / "result.json"))
    except NotFound:
        return None


def taken_before(directory: Path, plan: Plan, number: int) -> set[str]:
    """The digests of the updates that were averaged before round `number`."""
    finished = (read_result(directory, each) for each in range(plan.first_round, number))
    new = (part.update for result in finished if result for part in result.contributions if part.update)
    return {*plan.taken, *new}


def model_directory(directory: Path, number: int) -> Path:
    """The model after round `number`; after round `first_round - 1`, the parent."""
    made = round_directory(directory, number) / "model"
    return made if made.is_dir() else directory / "parent"


def entries(folder: Path, files: list[Path]) -> tuple[FileEntry, ...]:
    """Paths relative to `folder`, digests and sizes."""
    return tuple(
        FileEntry(path=str(path.relative_to(folder)), digest=digest_file(path), size=path.stat().st_size)
        for path in sorted(files)
    )


def update_file(directory: Path, number: int) -> Path:
    """The update of round `number`, which was recorded before this Flower run."""
    return directory / "updates" / f"{number}.safetensors"


def read_past(directory: Path, number: int) -> Past:
    return Past.read(_json(past_file(directory, number)))


def past_file(directory: Path, number: int) -> Path:
    """Who gave the update of round `number`."""
    return directory / "updates" / f"{number}.json"


def large_files(directory: Path) -> Path:
    """Where the server app keeps what is too large for its memory, in files without names; made where it is missing."""
    folder = directory / "rounds" / "large.partial"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def discard_unfinished(directory: Path) -> None:
    """Remove what a killed server app left half-written."""
    for leftover in (directory / "rounds").glob("*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def _json(path: Path) -> object:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.") from None
    if len(data) > MAX_DOCUMENT:
        raise Invalid(f"{path} is larger than {MAX_DOCUMENT} bytes.")
    try:
        return json.loads(data)
    except ValueError:
        raise Invalid(f"{path} is not valid JSON.") from None
