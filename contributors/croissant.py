"""Croissant metadata of a dataset: JSON-LD that data catalogues read (mlcommons.org/croissant, format specification 1.1).

It is derived from the signed manifest alone, which stands in the ledger for everybody: whoever has the manifest has it, and
it cannot say anything else.
"""

from __future__ import annotations

from typing import Any

from protos.documents.placing import FOR_MEMBERS
from protos.documents.submissions import Dataset, DatasetFile

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
# As the specification's examples and its library have them: that reads no Parquet under the type that IANA lists since 2024.
_FORMATS = {"jsonl": "application/jsonlines", "parquet": "application/x-parquet", "txt": "text/plain"}
_CR = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty"),
    *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{name: f"cr:{name}" for name in _CR},
}


def metadata(claim: Dataset, identifier: str) -> dict[str, Any]:
    """The description of the dataset that the ledger calls `identifier`."""
    address = f"coalition://{claim.hub}/member/{claim.signer}"
    endings = list(dict.fromkeys(_ending(file) for file in claim.files))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": claim.name,
        "description": f"Text of the domain {claim.domain}: {claim.provenance}",
        "license": claim.licence,
        "url": f"{address}/dataset/{claim.name}",
        "identifier": identifier,
        "version": "1.0.0",
        "creator": {"@type": "sc:Organization", "name": claim.signer, "url": address},
        "citeAs": f"{claim.signer}: {claim.name}. Dataset {identifier} in the ledger of {claim.hub}.",
        "datePublished": claim.issued_at[:10],
        "keywords": [claim.domain],
        "conditionsOfAccess": f"{claim.category}; may be processed in: {', '.join(claim.jurisdiction)}",
        "isAccessibleForFree": claim.category in FOR_MEMBERS,
        "distribution": [*(_file(file) for file in claim.files), *(_files(ending) for ending in endings)],
        "recordSet": [_rows(ending) for ending in endings],
    }


def _ending(file: DatasetFile) -> str:
    ending = file.path.rpartition(".")[2]
    return ending if ending in _FORMATS else "txt"


def _file(file: DatasetFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": _FORMATS[_ending(file)],
        "sha256": file.digest.removeprefix("sha256:"),
    }


def _files(ending: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{ending}-files",
        "name": f"{ending}-files",
        "encodingFormat": _FORMATS[ending],
        "includes": f"*.{ending}",
    }


def _rows(ending: str) -> dict[str, Any]:
    """Rows with a text; a plain file is one."""
    rows = f"{ending}-rows"
    extract: dict[str, str] = {"fileProperty": "content"} if ending == "txt" else {"column": "text"}
    text = {
        "@type": "cr:Field",
        "@id": f"{rows}/text",
        "name": "text",
        "dataType": "sc:Text",
        "source": {"fileSet": {"@id": f"{ending}-files"}, "extract": extract},
    }
    return {"@type": "cr:RecordSet", "@id": rows, "name": rows, "field": [text]}
