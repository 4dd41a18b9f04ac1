"""Models: the list of versions, and one version with its lineage, scores, files and proofs."""

from __future__ import annotations

import streamlit as st

from dashboards import display, source
from dashboards.rows import formats, lineage, scores
from protos.coalition.v1 import models_pb2

_COLOURS = {"light": ("#3d4657", "#f4f6f9", "#2457c5"), "dark": ("#c3cad6", "#1a202a", "#86abff")}
"""Ink, box and accent of the drawing per theme, as in config.toml."""


def show() -> None:
    """The list, then the chosen model (`?model=` in the address)."""
    st.title("Models")
    models = source.models()
    if not models:
        display.nothing_yet(
            "There is no model yet.",
            "A base run of the core team makes the first one; each round of a campaign adds the next.",
            "coalition run launch SPEC.toml",
        )
        return
    _one(source.model(display.choose("Model version", lineage.newest_first(models), "model")))
    st.subheader("All versions")
    display.table(lineage.model_rows(models), "All model versions", {"model": display.link("Model", "model")})
    _releases(source.releases())


def _one(model: models_pb2.Model) -> None:
    display.facts(
        {
            "Made by": lineage.maker(model),
            "Parameters": formats.amount(model.parameters),
            "Tokens trained on": formats.amount(model.tokens),
            "Size": formats.size(sum(file.size for file in model.files)),
            "Recorded": formats.moment(model.recorded_at),
        }
    )
    if model.provenance:
        st.text(f"Trained by others, under {model.licence}: {model.provenance}")
    tree = source.lineage(model.id)
    st.subheader("Lineage")
    ink, box, accent = _COLOURS["dark" if st.context.theme.type == "dark" else "light"]
    st.graphviz_chart(lineage.drawing(tree, ink, box, accent), width="content")
    _data(tree)
    _rounds(tree)
    _scores(model.id)
    _proof(model)


def _data(tree: models_pb2.Lineage) -> None:
    st.subheader("Data of the base run")
    if not tree.data:
        st.info("No dataset is recorded for this model.")
        return
    display.table(
        lineage.data_rows(tree),
        "Datasets that it learned from, in the base run and in the rounds",
        {"part": display.percent("Part of all tokens")},
    )


def _rounds(tree: models_pb2.Lineage) -> None:
    rows = lineage.round_rows(tree)
    if rows:
        st.subheader("Members in the rounds")
        weight = st.column_config.NumberColumn("Weight", format="%.3f")
        display.table(rows, "Members' parts in the rounds", {"weight": weight})


def _scores(model: str) -> None:
    st.subheader("Scores")
    rows = scores.scores_of_model(source.evaluations(model))
    if not rows:
        st.info("No evaluation of this model is recorded or waiting: no suite is accepted yet.")
        return
    column = st.column_config
    display.table(
        rows,
        f"Scores of {model}",
        {
            "guessing": column.NumberColumn("Guessing", format="%.3f"),
            "seconds": column.NumberColumn("Seconds", format="%.1f"),
        },
    )


def _proof(model: models_pb2.Model) -> None:
    st.subheader("Files and proof")
    display.table(lineage.file_rows(model.files), f"Files of {model.id}")
    place = f"entry {model.receipt.index}" if model.HasField("receipt") else "the ledger"
    st.markdown(f"Recorded in {place} of the ledger. Fetch the files, and the receipt that verifies offline:")
    display.command(f"coalition model download {model.id} DIR\ncoalition ledger receipt {model.id}")


def _releases(releases: list[models_pb2.Release]) -> None:
    st.subheader("Releases")
    if not releases:
        st.info("Nothing has been released yet. A core member does it: `coalition release cut MODEL --version V`.")
        return
    rows = [
        {
            "version": release.version,
            "model": f"models?model={release.model}",
            "cut by": release.member,
            "size": formats.size(sum(file.size for file in release.files)),
            "recorded": formats.moment(release.recorded_at),
        }
        for release in releases
    ]
    display.table(rows, "Releases", {"model": st.column_config.LinkColumn("Model", display_text=r"model=(.+)$")})
    newest = releases[-1].version
    display.command(f"coalition release download {newest} DIR\ncoalition release verify DIR")
