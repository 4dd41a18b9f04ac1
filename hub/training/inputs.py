"""The datasets that a run trains on, and why a spec cannot be one for them."""

from __future__ import annotations

from sqlmodel import Session

from hub.submissions import catalogue
from hub.submissions.catalogue import Accepted
from protos.documents.runs import RunSpec
from protos.documents.submissions import DatasetFile
from trust.errors import Invalid


def inputs(session: Session, spec: RunSpec, before: int | None = None) -> list[Accepted[DatasetFile]]:
    """Those that the spec names, or all that may leave their sites; of those below ledger entry `before`, and of the domains
    that it weighs where it weighs any. Raises as `catalogue.for_run`."""
    found = catalogue.for_run(session, spec.data.datasets, before)
    return [dataset for dataset in found if not spec.domains or dataset.domain in spec.domains]


def check(session: Session, spec: RunSpec) -> None:
    """Raises `Invalid` where there is nothing to train on, or spec and datasets do not agree."""
    named = catalogue.for_run(session, spec.data.datasets)
    if not named:
        raise Invalid("There is no dataset to train on.", "Submit one first.", field="data.datasets")
    domains = {dataset.domain for dataset in named}
    if missing := spec.domains - domains:
        raise Invalid(
            f"No accepted dataset is of the domain {min(missing)}.",
            f"Weigh those that there are: {', '.join(sorted(domains))}.",
            field="data.weights",
        )
    if spec.data.datasets and spec.domains and (useless := [d for d in named if d.domain not in spec.domains]):
        raise Invalid(
            f"{useless[0].id} is of the domain {useless[0].domain}, which has no weight.",
            "Give the domain a weight, or leave the dataset out.",
            field="data.datasets",
        )
