"""The model card of a release: Markdown with the front matter that Hugging Face reads. Pure: same facts, same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
class ScoreLine:
    """A score of one task, and the signed evaluation it stands in. `samples` is the digest of the per-item log."""

    suite: str
    suite_payload: str
    evaluation: str
    ledger_entry: int
    samples: str
    score: TaskScore


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
    scores: Sequence[ScoreLine]
    taken_in: tuple[str, str] | None = None
    """Of a base that others trained: its licence and its provenance."""


def model_card(facts: Facts) -> str:
    """The text of README.md."""
    return "\n".join(
        [*_front_matter(facts), *_introduction(facts), *_data(facts), *_rounds(facts), *_scores(facts), *_proof(facts)]
    )


def _front_matter(facts: Facts) -> list[str]:
    """YAML as huggingface.co/docs/hub/model-cards has it; every value is JSON, which is YAML that nothing can break out of."""
    values: dict[str, Any] = {
        "license": "other",
        "license_name": "see-data-licences",
        "license_link": "README.md#data",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["coalition", "federated"],
        "datasets": sorted({f"{line.member}/{line.name}" for line in facts.data}),
    }
    if len(facts.lineage) > 1:
        values |= {"base_model": facts.lineage[-1], "base_model_relation": "finetune"}
    if facts.scores:
        values["model-index"] = [{"name": facts.model, "results": [_result(line) for line in facts.scores]}]
    return ["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items()), "---", ""]


def _result(line: ScoreLine) -> dict[str, Any]:
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": line.suite, "name": f"{line.suite}/{line.score.task}", "revision": line.suite_payload},
        "metrics": [{"type": line.score.metric, "value": round(line.score.value, 6), "name": line.score.metric}],
    }


def _introduction(facts: Facts) -> list[str]:
    return [
        f"# {facts.model}, release {facts.version}",
        "",
        f"A {facts.architecture} model of {facts.parameters:,} parameters,",
        f"built together by the members of the coalition `{facts.hub}`.",
        f"Lineage, newest first: {', '.join(facts.lineage)}.",
        f"{_base(facts)}; code `{facts.code_version}`.",
        "",
    ]


def _base(facts: Facts) -> str:
    if facts.taken_in is None:
        return f"Base training saw {facts.tokens:,} tokens"
    licence, provenance = facts.taken_in
    return f"The base {facts.lineage[-1]} was trained by others, under {licence}: {_plain(provenance)}"


def _plain(text: str) -> str:
    """What somebody typed, as Markdown that says just that."""
    return re.sub(r"([^\w\s.,:;/()'-])", r"\\\1", " ".join(text.split()))


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
    if not facts.scores:
        return ["## Scores", "", "Not evaluated yet.", ""]
    rows = [
        f"| {line.suite} | {s.task} | {s.metric} | {s.value:.4f} | {s.standard_error:.4f} | {_guessing(s)} | {s.items} |"
        for line in facts.scores
        for s in [line.score]
    ]
    return [
        "## Scores",
        "",
        "By the suites of the members; bits per byte are better when lower.",
        "",
        "| suite | task | metric | value | standard error | guessing | items |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _guessing(score: TaskScore) -> str:
    return "" if score.baseline is None else f"{score.baseline:.3f}"


def _proof(facts: Facts) -> list[str]:
    return [
        "## Checking this release",
        "",
        "`coalition release verify DIR` checks every byte, the signature and the ledger proof offline.",
        "`provenance.json` lists the digests and ledger entries of everything that went in.",
        "The signature is a Sigstore bundle that public tools read:",
        "",
        "    model_signing verify key DIR --signature DIR/model.sig --public_key DIR/keys/signer.pem",
        "",
    ]
