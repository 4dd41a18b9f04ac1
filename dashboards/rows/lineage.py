"""Model pages: facts, files, whose data and which rounds a model came from, and a drawing of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.rows.formats import amount, made_by, moment, natural, size
from protos.coalition.v1 import models_pb2
from trust.sentences import counted

AT_SITES = frozenset({"private", "sovereign"})
"""Categories of data that never leaves its owner's site; campaigns learn from it there."""

MAX_DRAWN = 12
"""Datasets or models drawn one by one; more are drawn as one box that counts them."""


def newest_first(models: Sequence[models_pb2.Model]) -> list[str]:
    """Identifiers for choosing, the newest version first."""
    return [model.id for model in sorted(models, key=lambda model: natural(model.id), reverse=True)]


def maker(model: models_pb2.Model) -> str:
    """What a version came of."""
    return made_by(model.origin, f"round {model.round}")


def model_rows(models: Sequence[models_pb2.Model]) -> list[dict[str, Any]]:
    """The list of models, newest first."""
    return [
        {
            "model": f"models?model={model.id}",
            "made by": maker(model),
            "from": model.parent or model.source,
            "parameters": amount(model.parameters),
            "size": size(sum(file.size for file in model.files)),
            "recorded": moment(model.recorded_at),
            "withdrawn data": ", ".join(model.withdrawn) or None,
        }
        for model in sorted(models, key=lambda model: natural(model.id), reverse=True)
    ]


def file_rows(files: Sequence[Any]) -> list[dict[str, Any]]:
    """Files of a model, release or submission."""
    return [{"file": file.path, "size": size(file.size), "digest": file.digest} for file in files]


def data_rows(lineage: models_pb2.Lineage) -> list[dict[str, Any]]:
    """The datasets of the base run and of the rounds, the largest first, with each one's part of all tokens in percent."""
    total = sum(data.tokens for data in lineage.data) or 1
    return [
        {
            "dataset": data.name,
            "member": data.member,
            "domain": data.domain,
            "category": data.category or None,
            "licence": data.licence,
            "tokens": amount(data.tokens),
            "part": 100 * data.tokens / total,
            "id": data.dataset,
            "withdrawn": moment(data.withdrawn_at) if data.withdrawn_at else None,
        }
        for data in sorted(lineage.data, key=lambda data: -data.tokens)
    ]


def round_rows(lineage: models_pb2.Lineage) -> list[dict[str, Any]]:
    """Who took part in the rounds between the base and this model, first round first."""
    return [
        {"model": part.model, "member": part.member, "examples": part.examples, "weight": part.weight}
        for part in sorted(lineage.members, key=lambda part: (natural(part.model), part.member))
    ]


def drawing(lineage: models_pb2.Lineage, ink: str, box: str, accent: str) -> str:
    """The lineage in Graphviz's language, left to right: datasets -> base -> rounds, with the members above each round.

    `ink`, `box` and `accent` are colours (#rrggbb), so that it suits the page's theme.
    """
    chain = list(reversed(lineage.models))
    lines = [
        "digraph lineage {",
        'rankdir=LR; bgcolor="transparent"; nodesep=0.15; ranksep=0.4;',
        f'node [shape=box style="rounded,filled" fillcolor="{box}" color="{ink}" fontcolor="{ink}" '
        'fontname="sans-serif" fontsize=11 margin="0.12,0.06"];',
        f'edge [color="{ink}" arrowsize=0.6 penwidth=0.8];',
    ]
    lines += _data_lines(lineage, chain[0].id) if chain else []
    lines += _chain_lines(lineage, chain, accent)
    return "\n".join([*lines, "}"])


def _data_lines(lineage: models_pb2.Lineage, base: str) -> list[str]:
    """Of the base: what sites learned from in rounds came in there, with the members."""
    drawn = [data for data in lineage.data if data.category not in AT_SITES]
    if len(drawn) > MAX_DRAWN:
        members = len({data.member for data in drawn})
        label = f"{counted(len(drawn), 'dataset')}\nof {counted(members, 'member')}"
        return [f"data [label={_quoted(label)}];", f"data -> {_quoted(base)};"]
    lines = []
    for data in drawn:
        node = _quoted(f"data:{data.dataset}")
        label = f"{data.name}\n{data.member}" + ("\nwithdrawn" if data.withdrawn_at else "")
        lines += [f"{node} [label={_quoted(label)}];", f"{node} -> {_quoted(base)};"]
    return lines


def _chain_lines(lineage: models_pb2.Lineage, chain: Sequence[models_pb2.Model], accent: str) -> list[str]:
    drawn = list(chain) if len(chain) <= MAX_DRAWN else [chain[0], *chain[-(MAX_DRAWN - 2) :]]
    lines = []
    for before, model in zip([None, *drawn], drawn, strict=False):
        members = sum(1 for part in lineage.members if part.model == model.id and part.weight > 0)
        detail = maker(model) + (f", {members} members" if model.origin == "round" else "")
        last = f' color="{accent}" penwidth=2' if model is drawn[-1] else ""
        lines.append(f"{_quoted(model.id)} [label={_quoted(f'{model.id}{chr(10)}{detail}')}{last}];")
        if before is not None:
            style = "" if model.parent == before.id else ' [style=dashed label="…"]'
            lines.append(f"{_quoted(before.id)} -> {_quoted(model.id)}{style};")
    return lines


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
