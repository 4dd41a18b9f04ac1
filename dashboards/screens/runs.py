"""Runs: base training as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboards import display, source
from dashboards.rows import formats
from dashboards.rows import runs as rows
from protos.coalition.v1 import training_pb2

REFRESH_SECONDS = 2.0
GREY = "#808a9b"
"""Legible on the light and on the dark page."""


def show() -> None:
    """The list, then the chosen run (`?run=` in the address), then the nodes."""
    st.title("Runs")
    runs = source.runs()
    if not runs:
        display.nothing_yet(
            "No base run has been launched yet.",
            "A core member launches one on the attached nodes:",
            "coalition run launch SPEC.toml",
        )
        _nodes(source.nodes())
        return
    identifiers = [run.id for run in rows.newest_first(runs)]
    chosen = display.choose("Run", identifiers, "run")
    ended = source.run(chosen).state in rows.ENDED
    display.live(lambda: _course(chosen, ended), None if ended else REFRESH_SECONDS)
    st.subheader("All runs")
    display.table(
        rows.run_rows(runs), "All base runs", {"run": display.link("Run", "run"), "done": display.percent("Done")}
    )
    _nodes(source.nodes())


def _course(identifier: str, had_ended: bool) -> None:
    """The part that follows a run while it trains; when it ends, the whole page is shown anew."""
    run = source.run(identifier)
    if run.state in rows.ENDED and not had_ended:
        st.rerun()
    values = rows.latest(run.metrics)
    shown = {
        "Name": run.name,
        "State": run.state,
        "Step": f"{run.step} of {run.steps}",
        "Loss": f"{values[rows.LOSS]:.3f}" if rows.LOSS in values else "none yet",
        "Model": run.model or "none yet",
    }
    if run.nodes:  # while it is being worked on
        shown |= {"Nodes": str(len(run.nodes)), "Attempt": str(run.attempt)}
    display.facts(shown)
    if run.reason:
        (st.error if run.state == "failed" else st.info)(display.words(run.reason))
    if run.steps and run.state not in rows.ENDED:
        st.progress(min(1.0, run.step / run.steps))
    _curves(run)
    _details(run)


def _curves(run: training_pb2.Run) -> None:
    found = rows.curves(run.metrics)
    if not found:
        st.info("No measurement has come in yet; the nodes fetch, tokenise and pack the data first.")
        return
    if rows.LOSS in found:
        st.altair_chart(curve_chart("loss (nats per token)", found.pop(rows.LOSS), run.checkpoints), height=320)
    if found:
        columns = st.columns(min(3, len(found)))
        for place, (name, points) in enumerate(sorted(found.items())):
            columns[place % len(columns)].altair_chart(curve_chart(name.replace("_", " "), points), height=180)


def curve_chart(
    title: str, points: Sequence[tuple[int, float]], checkpoints: Sequence[training_pb2.Checkpoint] = ()
) -> Any:
    """A metric over the steps, with a tick where a checkpoint was kept."""
    data = pd.DataFrame(list(points), columns=["step", "value"])
    steps = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    line = (
        alt.Chart(data, title=title)
        .mark_line(point=len(points) < 3)
        .encode(
            x=steps,
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            tooltip=["step", alt.Tooltip("value:Q", format=".4g")],
        )
    )
    if not checkpoints:
        return line
    kept = pd.DataFrame({"step": [point.step for point in checkpoints]})
    marks = alt.Chart(kept).mark_rule(strokeDash=[2, 4], color=GREY).encode(x="step:Q", tooltip=["step"])
    return alt.layer(line, marks)


def _details(run: training_pb2.Run) -> None:
    if run.checkpoints:
        st.caption("Dotted lines are checkpoints that the run can resume from.")
        with st.expander(f"Checkpoints ({len(run.checkpoints)})"):
            loss = st.column_config.NumberColumn("Loss", format="%.3f")
            display.table(rows.checkpoint_rows(run), "Checkpoints", {"loss": loss})
    with st.expander("Specification, as signed"):
        st.caption(f"Launched by {run.launched_by} at {formats.moment(run.launched_at)}.")
        st.json(run.spec or "{}")


def _nodes(nodes: Sequence[training_pb2.Node]) -> None:
    st.subheader("Nodes")
    if not nodes:
        display.nothing_yet(
            "No node is attached.",
            "The operator invites a node, and its agent attaches it:",
            "coalition-hub invite DIR --organisation NAME --node NODE\n"
            "coalition-hub node NODE-DIR --hub HOST:PORT --name NODE --token TOKEN",
        )
        return
    display.table(rows.node_rows(nodes), "Nodes")
