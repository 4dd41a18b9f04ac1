"""The model card of a release: Markdown with the front matter that Hugging Face reads. Pure: same facts, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protos.documents.evaluations import TaskScore


@dataclass(frozen=True)
class DataLine:
    """A dataset that entered the base model."""

    dataset: str
    name: str
    member: str
    domain: str
    licence: str
    tokens: int


@dataclass(frozen=True)
class RoundLine:
    """A member's part in a round."""

    model: str
    member: str
    examples: int
    weight: float


@dataclass(frozen=True)
class Facts:
    """Everything that a card says."""

    hub: str
    model: str
    version: str
    architecture: str
    parameters: int
    tokens: int
    lineage: Sequence[str]
    code_version: str
    data: Sequence[DataLine]
    rounds: Sequence[RoundLine]
    scores: Sequence[tuple[str, TaskScore]]


def model_card(facts: Facts) -> str:
    """The text of README.md."""
    return "\n".join(
        [*_front_matter(facts), *_introduction(facts), *_data(facts), *_rounds(facts), *_scores(facts), *_proof(facts)]
    )


def _front_matter(facts: Facts) -> list[str]:
    licences = sorted({line.licence for line in facts.data})
    return [
        "---",
        "license: other",
        f"license_name: {licences[0] if len(licences) == 1 else 'see-data-licences'}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "language: en",
        "tags: [coalition, federated]",
        "---",
        "",
    ]


def _introduction(facts: Facts) -> list[str]:
    return [
        f"# {facts.model}, release {facts.version}",
        "",
        f"A {facts.architecture} model of {facts.parameters:,} parameters,",
        f"built together by the members of the coalition `{facts.hub}`.",
        f"Lineage, newest first: {', '.join(facts.lineage)}.",
        f"Base training saw {facts.tokens:,} tokens; code `{facts.code_version}`.",
        "",
    ]


def _data(facts: Facts) -> list[str]:
    rows = [f"| {d.member} | {d.name} | {d.domain} | {d.licence} | {d.tokens:,} | `{d.dataset}` |" for d in facts.data]
    return [
        "## Data",
        "",
        "| member | dataset | domain | licence | tokens | id |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _rounds(facts: Facts) -> list[str]:
    if not facts.rounds:
        return []
    rows = [f"| {r.model} | {r.member} | {r.examples} | {r.weight:.3f} |" for r in facts.rounds]
    return [
        "## Post-training rounds",
        "",
        "The text of these rounds never left the members' sites.",
        "",
        "| model | member | examples | weight |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _scores(facts: Facts) -> list[str]:
    rows = [
        f"| {suite} | {s.task} | {s.metric} | {s.value:.4f} | {s.standard_error:.4f} | {s.items} |"
        for suite, s in facts.scores
    ]
    table = ["| suite | task | metric | value | standard error | items |", "|---|---|---|---|---|---|", *rows]
    return ["## Scores", "", *(table if rows else ["Not evaluated yet."]), ""]


def _proof(facts: Facts) -> list[str]:
    return [
        "## Checking this release",
        "",
        "`coalition release verify DIR` checks every byte, the signature and the ledger proof offline.",
        "`provenance.json` lists the digests of everything that went in. The signature is a Sigstore bundle that public tools read:",
        "",
        "    model_signing verify key DIR --signature DIR/model.sig --public_key DIR/keys/signer.pem",
        "",
    ]
