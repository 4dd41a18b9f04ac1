"""`coalition run plan`: what a base run will need, before anything is launched."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contributors.cli.session import connected
from contributors.cli.specs import read_spec
from contributors.cli.terminal import Json, print_fields, print_json, print_table, say, size, working
from trust.errors import Invalid, NotFound

if TYPE_CHECKING:
    from learning.planning.forecast import Assumptions, Forecast
    from learning.planning.plan import Cluster, Job, Option, Plan, Stage, Work
    from protos.coalition.v1.training_pb2 import Node
    from protos.documents.course import Leg
    from protos.documents.runs import RunSpec


def plan(
    spec: Annotated[Path, typer.Argument(help="The run's specification, TOML.")],
    gpu: Annotated[
        str, typer.Option(help="Plan for this accelerator (h100, h200, b200, mi300x, ...), no hub asked.")
    ] = "",
    nodes: Annotated[
        int, typer.Option(min=0, help="Nodes to plan for; as many as the spec asks for unless given.")
    ] = 0,
    gpus_per_node: Annotated[
        int, typer.Option(min=0, max=64, help="With --gpu; as many as the spec has ranks on a node unless given.")
    ] = 0,
    mfu: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the peak rate that training reaches.")] = 0.4,
    price: Annotated[float, typer.Option(min=0.0, help="Of one accelerator hour.")] = 2.5,
    mtbf: Annotated[float, typer.Option(min=1.0, help="Hours between failures of one node.")] = 6_000.0,
    as_json: Json = False,
) -> None:
    """Parameters, memory, layout, time, energy and cost of a run. Exit code 1 if it does not fit; it says what would.

    Without --gpu it plans for the nodes that are attached to the hub.
    """
    from transformers.utils import logging as notices

    from learning.planning.forecast import Assumptions
    from learning.planning.plan import plan as make
    from protos.documents.runs import RunSpec

    notices.set_verbosity_error()  # with which kernels this machine would compute it is not asked
    read = read_spec(spec, RunSpec)
    cluster = _imagined(read, gpu, nodes, gpus_per_node) if gpu else _attached(read, nodes)
    assumed = Assumptions(mfu=mfu, price=price, mtbf=mtbf)
    with working("Planning:") as report:
        made = make(_job(read), cluster, assumed, report)
    if as_json:
        print_json(_as_json(made, cluster, assumed))
    else:
        _show(read, made, cluster, assumed)
    if not made.asked.fits:
        raise Invalid(
            f"{spec} does not fit {_describe(cluster)}: a rank needs {size(made.asked.memory.total)}.",
            _remedy(made, cluster),
        )


def _job(spec: RunSpec) -> Job:
    from learning.planning.layouts import Layout
    from learning.planning.plan import Job

    widest = _widest(spec)
    training = widest.training
    return Job(
        values=spec.architecture.hugging_face(),
        stages=tuple(map(_stage, spec.course)),
        widest=_stage(widest),
        optimizer=training.optimizer,
        precision=training.precision,
        layout=Layout(training.zero_stage, training.at_once, training.recompute),
        separate=training.separate_documents,
    )


def _stage(leg: Leg) -> Stage:
    from learning.planning.plan import Stage

    return Stage(leg.name, leg.training.steps, leg.training.batch_size, leg.training.sequence_length)


def _widest(spec: RunSpec) -> Leg:
    """The stage with the most tokens in a pass: what fits it fits the others."""
    return max(spec.course, key=lambda leg: leg.training.at_once * leg.training.sequence_length)


def _imagined(spec: RunSpec, gpu: str, nodes: int, per_node: int) -> Cluster:
    from learning.planning.hardware import accelerator
    from learning.planning.plan import Cluster

    return Cluster(nodes or spec.placement.nodes, per_node or spec.placement.ranks_per_node, accelerator(gpu))


def _attached(spec: RunSpec, nodes: int) -> Cluster:
    """The largest gang of equal nodes that the hub knows and that hold the ranks. Raises `NotFound` where there are too few."""
    from learning.planning.hardware import accelerator, processor
    from learning.planning.plan import Cluster

    wanted, per_node = nodes or spec.placement.nodes, spec.placement.ranks_per_node
    try:
        hub = connected()
    except NotFound as problem:
        raise NotFound(problem.what, f"{problem.todo} To plan without a hub: --gpu h200 --nodes {wanted}.") from None
    with hub:
        present = [node for node in hub.nodes() if node.attached]
    kinds: dict[tuple[str, ...], list[Node]] = {}
    for node in present:
        kinds.setdefault(tuple(sorted(a.kind for a in node.inventory.accelerators)), []).append(node)
    enough = {
        kind: members
        for kind, members in kinds.items()
        if len(members) >= wanted and (not kind or len(kind) >= per_node)
    }
    if not enough:
        each = f" with {per_node} accelerators each" if per_node > 1 else ""
        raise NotFound(
            f"The run wants {wanted} equal nodes{each}; attached are {len(present)}.",
            "Attach more, or plan for others: --nodes 4 --gpu h200.",
        )
    kind, members = max(enough.items(), key=lambda item: len(item[0]))
    inventory = members[0].inventory
    if not kind:
        memory = min(member.inventory.memory for member in members)
        return Cluster(wanted, per_node, processor(memory // per_node, max(1, inventory.cores // per_node)))
    least = min(a.memory for member in members for a in member.inventory.accelerators)
    return Cluster(wanted, per_node, replace(accelerator(kind[0]), memory=least))


def _describe(cluster: Cluster) -> str:
    each = f"{cluster.per_node} x " if cluster.per_node > 1 else ""
    return f"{cluster.nodes} {'node' if cluster.nodes == 1 else 'nodes'} of {each}{cluster.accelerator.name}"


def _words(option: Option) -> str:
    layout = option.layout
    at_once = f"{layout.micro_batch} {'sequence' if layout.micro_batch == 1 else 'sequences'} at a time"
    return f"zero_stage = {layout.zero_stage}, {at_once}{', recomputing activations' if layout.recompute else ''}"


def _remedy(made: Plan, cluster: Cluster) -> str:
    if made.chosen:
        return f"This fits: {_settings(made.chosen)}."
    if made.enough:
        return f"No layout fits so few; {made.enough.nodes} nodes would do: {_settings(made.enough.option)}."
    kind = cluster.accelerator.name
    return f"No layout fits, however many {kind} there are: take accelerators with more memory, or a smaller model."


def _settings(option: Option) -> str:
    layout = option.layout
    return (
        f"zero_stage = {layout.zero_stage}, micro_batch = {layout.micro_batch}, "
        f"recompute = {str(layout.recompute).lower()} ({size(option.memory.total)} a rank)"
    )


def _show(spec: RunSpec, made: Plan, cluster: Cluster, assumed: Assumptions) -> None:
    widest, census = _widest(spec), made.census
    experts = f", {_billions(census.experts)} in experts" if census.experts else ""
    verdict = f"{size(made.asked.memory.total)} a rank, {'fits' if made.asked.fits else 'does not fit'}"
    ranks = "1 rank" if cluster.ranks == 1 else f"{cluster.ranks} ranks"
    print_fields(
        [
            ("model", f"{spec.name}, {spec.architecture.family}"),
            ("parameters", f"{_billions(census.total)} total, {_billions(census.active)} active{experts}"),
            ("", f"{census.total:,} exactly; {census.embeddings:,} in embeddings"),
            *((f"stage {work.stage.name}" if widest.name else "a step", _stage_words(work)) for work in made.works),
            ("memory", f"of the stage {widest.name}, with the most tokens in a pass" if widest.name else ""),
            ("cluster", f"{_describe(cluster)}, {ranks} with {size(cluster.accelerator.memory)} each"),
            ("as specified", f"{_words(made.asked)}: {verdict}"),
        ]
    )
    say()
    _show_options(made)
    if made.chosen and made.forecast:
        say()
        _show_forecast(made.chosen, made.forecast, made.checkpoint_bytes, cluster, assumed)


def _stage_words(work: Work) -> str:
    steps, tokens = work.stage.steps, work.step_tokens
    operations = f"{work.flops / 1e9:,.3g} GFLOP a token, forward and back"
    return f"{tokens:,} tokens; {steps:,} steps are {tokens * steps:,} tokens; {operations}"


def _show_options(made: Plan) -> None:
    at_once = made.asked.layout.micro_batch
    say(f"Memory of a rank with {at_once} {'sequence' if at_once == 1 else 'sequences'} at a time:")
    print_table(
        ["ZeRO", "recompute", ">weights", ">gradients", ">optimizer", ">activations", ">buffers", ">total", ""],
        [
            (
                option.layout.zero_stage,
                "yes" if option.layout.recompute else "no",
                *(size(part) for part in asdict(option.memory).values()),
                size(option.memory.total),
                "fits" if option.fits else "",
            )
            for option in made.options
        ],
        "No layout was looked at.",
    )


def _show_forecast(chosen: Option, told: Forecast, checkpoint: int, cluster: Cluster, assumed: Assumptions) -> None:
    peak = f"{cluster.accelerator.flops / 1e12:,.3g} TFLOP/s a rank"
    known = cluster.accelerator.watts > 0
    print_fields(
        [
            ("layout", _words(chosen)),
            ("speed", f"{told.tokens_per_second:,.0f} tokens/s at {assumed.mfu:.0%} of {peak}"),
            ("time", f"{_duration(told.days * 86_400)}, {_duration(told.step)} a step"),
            ("energy", _energy(told.energy) if known else ""),
            ("cost", f"{_about(told.cost)} at {assumed.price:g} an accelerator hour" if known else ""),
            (
                "checkpoint",
                f"{size(checkpoint)}, {_duration(told.checkpoint)} to write; best every {told.every:,} steps",
            ),
            ("failures", f"{_about(told.failures)} to expect, at one in {assumed.mtbf:,.0f} hours a node"),
            ("lost time", f"{told.lost:.1%}, to checkpoints, repeated steps and restarts"),
        ]
    )


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 10**9 else f"{count / 1e6:.2f} M"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.3g} seconds" if seconds >= 0.1 else f"{seconds * 1000:.3g} milliseconds"


def _energy(kilowatt_hours: float) -> str:
    for unit, many in (("GWh", 1e6), ("MWh", 1e3)):
        if kilowatt_hours >= many:
            return f"{kilowatt_hours / many:.3g} {unit}"
    return f"{_about(kilowatt_hours)} kWh"


def _about(count: float) -> str:
    if count < 0.01:
        return "less than 0.01"
    return f"{count:.3g}" if count < 1000 else f"{count:,.0f}"


def _as_json(made: Plan, cluster: Cluster, assumed: Assumptions) -> dict[str, Any]:
    return {
        "cluster": asdict(cluster) | {"ranks": cluster.ranks},
        "assumed": asdict(assumed),
        **asdict(made),
        "totals": [option.memory.total for option in made.options],
    }
