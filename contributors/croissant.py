"""Croissant metadata of a dataset: JSON-LD that data catalogues read (mlcommons.org/croissant, format specification 1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protos.documents.submissions import DatasetFile

_FORMAT = "application/jsonlines"
_CR = (
    *("citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes"),
    *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "separator", "source", "subField", "transform"),
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
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _CR},
}


def metadata(
    *, name: str, domain: str, licence: str, provenance: str, shards: Sequence[DatasetFile], fields: Sequence[str]
) -> dict[str, Any]:
    """The description of JSON Lines shards whose rows all have the text `fields`."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"Text of the domain {domain}: {provenance}",
        "license": licence,
        "keywords": [domain],
        "distribution": [*(_file(shard) for shard in shards), _shards()],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": [_field(f) for f in fields]}],
    }


def _file(shard: DatasetFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": shard.path,
        "name": shard.path,
        "contentUrl": shard.path,
        "contentSize": f"{shard.size} B",
        "encodingFormat": _FORMAT,
        "sha256": shard.digest.removeprefix("sha256:"),
    }


def _shards() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": "shards",
        "name": "shards",
        "encodingFormat": _FORMAT,
        "includes": "data-*.jsonl",
    }


def _field(name: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"rows/{name}",
        "name": name,
        "dataType": "sc:Text",
        "source": {"fileSet": {"@id": "shards"}, "extract": {"column": name}},
    }
