"""The hub's statements about a base run."""

from __future__ import annotations

from collections.abc import Sequence

from hub.submissions.catalogue import Accepted
from hub.training.feed import Feed
from hub.training.messages import plain
from hub.training.states import Work
from hub.training.tables import RunRow
from hub.version import code_version
from protos.documents.models import DataUsed, Model
from protos.documents.runs import Checkpoint, RunEnd, RunSpec
from protos.documents.statements import HUB
from protos.documents.submissions import DatasetFile


def checkpoint_claim(origin: str, work: Work, step: int) -> Checkpoint:
    """Of a step that every node has reported."""
    reports = [work.saved[step][rank] for rank in range(len(work.nodes))]
    return Checkpoint.read(
        {
            "hub": origin,
            "signer": HUB,
            "run": work.run,
            "attempt": work.attempt,
            "step": step,
            "loss": reports[0].loss,
            "weights": reports[0].weights.model_dump() if reports[0].weights else None,
            "shards": [report.shard for report in reports],
            "nodes": list(work.nodes),
            "skipped": [skip.model_dump() for skip in reports[0].skipped],
        }
    )


def model_claim(
    origin: str, model: str, parameters: int, work: Work, row: RunRow, datasets: Sequence[Accepted[DatasetFile]]
) -> Model:
    """A finished run's model with all that went into it.

    How many tokens of each dataset it learned from follows from the spec (`hub.training.feed`).
    """
    spec = RunSpec.read(row.spec)
    packed = work.prepared.tokens_by_dataset if work.prepared else {}
    used = Feed(spec, packed, {dataset.id: dataset.domain for dataset in datasets}).tokens(
        spec.placement.ranks, [(skip.after, skip.until) for skip in work.skipped]
    )
    return Model(
        hub=origin,
        signer=HUB,
        model=model,
        origin="run",
        source=work.run,
        payload=row.payload,
        parameters=parameters,
        architecture=spec.architecture.family,
        tokens=sum(used.values()),
        files=work.model,
        data=tuple(
            DataUsed(
                dataset=dataset.id,
                payload=dataset.payload,
                member=dataset.member,
                licence=dataset.licence,
                tokens=used.get(dataset.id, 0),
            )
            for dataset in datasets
        ),
        code_version=code_version(),
        skipped=work.skipped,
    )


def run_end_claim(origin: str, run: str, outcome: str, reason: str, model: str) -> RunEnd:
    return RunEnd.read(
        {
            "hub": origin,
            "signer": HUB,
            "run": run,
            "outcome": outcome,
            "reason": plain(reason)[:2000],
            "model": model or None,
        }
    )
