"""Writes `suite.schema.json`, the published JSON Schema of `suite.json`: `python -m eval_suites.schema`."""

from __future__ import annotations

import json
from pathlib import Path

from protos.documents.suite import SuiteFormat

SCHEMA = Path(__file__).parent / "suite.schema.json"


def schema() -> str:
    """The text of the file."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SuiteFormat.model_json_schema()}
    return json.dumps(described, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema())
