"""Models that others trained, taken in as bases: two statements, of the import and of the model that it makes."""

from __future__ import annotations

import json
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.weights import parameter_count
from hub.version import code_version
from learning.export import load_model, model_files
from protos.documents.base import Document, FileEntry, Licence, Name, Text
from protos.documents.licences import LicencePolicy, check_licence
from protos.documents.models import Import, Model
from protos.documents.statements import HUB
from trust.errors import Invalid

MAX_CONFIG = 1 << 20


class Described(Document):
    """What is said of an import: the name of its versions, its licence (SPDX), and whose it is and where it was found."""

    name: Name
    licence: Licence
    provenance: Text


def take_in(
    folder: Path, described: Described, *, policy: LicencePolicy, database: Database, blobs: BlobStore, journal: Journal
) -> Model:
    """Store the model of a Hugging Face folder and record it as the first of its name that is free: `NAME-1`.

    Raises `Invalid` or `NotFound` for a folder whose weights do not load as its configuration says, that names code to run,
    and for a licence that the coalition does not take. Nothing is recorded then.
    """
    check_licence(described.licence)
    if refusal := policy.refusal(described.licence):
        raise Invalid(refusal, "Widen the coalition's policy in hub.toml, or choose another model.", field="licence")
    files = model_files(folder)
    architecture = _architecture(folder)
    load_model(folder)
    stored = tuple(FileEntry(path=path.name, digest=blobs.put_file(path), size=path.stat().st_size) for path in files)
    by_hub = {"hub": journal.origin, "signer": HUB}
    made = Import.read(
        {**by_hub, **described.model_dump(), "files": [entry.model_dump(mode="json") for entry in stored]}
    )
    with database.session() as session:
        name = registry.next_base_id(session, described.name)
    source = journal.sign_and_record(made)
    model = Model(
        **by_hub,
        model=name,
        origin="import",
        source=source.id,
        payload=source.payload,
        parameters=parameter_count(path for path in files if path.suffix == ".safetensors"),
        architecture=architecture,
        files=stored,
        code_version=code_version(),
    )
    journal.sign_and_record(model)
    return model


def _architecture(folder: Path) -> str:
    """What config.json calls it. Raises `Invalid` where a configuration names code that is to be run."""
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in _read(folder / name):
            raise Invalid(f"{name} names code to run (auto_map).", "Convert the model to a class of transformers.")
    architectures = _read(folder / "config.json").get("architectures")
    if not (isinstance(architectures, list) and architectures and isinstance(architectures[0], str)):
        raise Invalid("config.json does not say which architecture the model has.")
    return architectures[0][:100]


def _read(path: Path) -> dict[str, object]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(data) if len(data) <= MAX_CONFIG else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"{path.name} is no JSON object of at most {MAX_CONFIG} bytes.", "Export the model again.")
    return found
